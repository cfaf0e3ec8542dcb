"""What a solver is: a function from a problem to a placement, described without importing it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from moeplace.clock import monotonic
from moeplace.parallel import Workers

if TYPE_CHECKING:
    from collections.abc import Callable

    from moeplace.placement import Placement, Problem

ALL_OBJECTIVES = ("time", "balance", "copies", "hops")
KINDS = ("baseline", "heuristic", "exact", "peer")


@dataclass(frozen=True)
class SolverInfo:
    """Static facts about a solver.

    Attributes
    ----------
    kind
        ``baseline`` (what engines do today), ``heuristic``, ``exact``, or ``peer`` (a published
        method of others, re-written from its paper; run when asked for by name).
    target
        ``"module:function"``, loaded on first use.
    objectives
        Objectives the solver takes; a baseline or peer takes all and optimizes its own proxy.
    feasible
        False if the placement may hold an expert twice on a rank.
    needs
        What the workload must know beyond loads: ``"token_sets"``, ``"transition"``; without it
        an InputError.
    reference
        Paper or project that describes the method.
    """

    name: str
    kind: str
    summary: str
    target: str
    objectives: tuple[str, ...] = ALL_OBJECTIVES
    feasible: bool = True
    needs: tuple[str, ...] = ()
    backend: str = ""
    reference: str = ""


@dataclass
class Run:
    """One solver run: its random numbers, its clock and whom to tell about incumbents.

    Attributes
    ----------
    seed
        Seed of every random choice.
    time_limit_s
        Seconds the solver may use, None for no limit.
    report
        Called with each better feasible placement.
    workers
        Who works on the layers; the answer does not depend on it.
    """

    seed: int = 0
    time_limit_s: float | None = None
    report: Callable[[Placement], None] = field(default=lambda placement: None)
    workers: Workers = field(default_factory=Workers)
    started: float = field(default_factory=monotonic)

    def remaining_s(self) -> float | None:
        """Return the seconds left, at least 0, or None without a limit."""
        if self.time_limit_s is None:
            return None
        return max(0.0, self.time_limit_s - (monotonic() - self.started))

    def out_of_time(self) -> bool:
        """Return whether the limit has passed."""
        left = self.remaining_s()
        return left is not None and left <= 0


@dataclass(frozen=True, eq=False)
class Solved:
    """What a solver returns; :func:`moeplace.solve` scores it again with ``evaluate``.

    Attributes
    ----------
    placement
        The best placement found, None if there is none.
    optimal
        Whether the solver claims to have proven optimality.
    lower_bound
        The solver's proven bound on the objective, None if it has none.
    limit
        Which limit stopped it: ``""``, ``time``, ``iterations``, ``interrupted``.
    """

    placement: Placement | None
    optimal: bool = False
    lower_bound: float | None = None
    limit: str = ""


class Solver(Protocol):
    """The seam: everything the registry points at has this signature."""

    def __call__(self, problem: Problem, run: Run, initial: Placement | None) -> Solved:
        """Return the best placement found for `problem`, starting from `initial` if given."""
        ...
