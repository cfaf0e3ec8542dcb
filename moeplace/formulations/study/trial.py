"""One run of one solver with one seed on one instance, as plain numbers."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields
from typing import TYPE_CHECKING, Any

from moeplace.errors import InputError, MoeplaceError
from moeplace.formulations.registry import solver_info
from moeplace.formulations.solve import solve_beside
from moeplace.placement import slot_violations

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from moeplace.formulations.report import Beside
    from moeplace.formulations.result import Incumbent
    from moeplace.parallel import Workers


@dataclass(frozen=True)
class Trial:
    """What a run gave; everything that a table or a plot needs, and nothing that is large.

    Attributes
    ----------
    instance, solver, seed, time_limit_s
        What was run.
    value
        The objective of the placement found, None without one.
    lower_bound
        What the solver itself proved, None where it proves nothing.
    runtime_s
        Seconds it took; the bound and the baselines are not counted.
    status
        ``optimal``, ``feasible``, ``infeasible``, or ``error`` with the reason in `error`.
    keeps_rules
        Whether the placement keeps the problem's rules; only then it can win.
    layers_with_duplicates
        Layers that hold an expert twice on a rank.
    history
        (seconds, value) of each better placement in the order they were found.
    score
        The score's numbers.
    """

    instance: str
    solver: str
    seed: int
    time_limit_s: float | None
    value: float | None = None
    lower_bound: float | None = None
    runtime_s: float | None = None
    status: str = "error"
    limit: str = ""
    keeps_rules: bool = False
    balancedness: float | None = None
    layers_with_duplicates: int = 0
    history: tuple[tuple[float, float], ...] = ()
    score: Mapping[str, float | None] = field(default_factory=dict)
    error: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return the trial as a JSON document."""
        return {**asdict(self), "history": [list(point) for point in self.history]}

    @classmethod
    def from_dict(cls, document: Mapping[str, Any], where: str) -> Trial:
        """Return the trial of a document.

        Parameters
        ----------
        document
            From :meth:`to_dict`.
        where
            The file, for errors.

        Raises
        ------
        InputError
            If keys are missing or unknown.
        """
        if set(document) != {one.name for one in fields(cls)}:
            raise InputError(f"{where}: not a run of moeplace compare; remove it to run it again")
        try:
            points = tuple((float(at), float(value)) for at, value in document["history"])
        except (TypeError, ValueError) as error:
            raise InputError(f"{where}: damaged ({error}); remove it to run it again") from error
        return cls(**{**document, "history": points})


def run_trial(
    beside: Beside,
    instance: str,
    solver: str,
    time_limit_s: float | None,
    workers: Workers | None = None,
    on_incumbent: Callable[[Incumbent], None] | None = None,
) -> Trial:
    """Run one solver; a failure becomes a trial that says why.

    Parameters
    ----------
    beside
        The problem, the seed and what is shared between solvers.
    instance
        Name of the problem.
    on_incumbent
        Called with every better placement.
    """
    about = (instance, solver, beside.seed, time_limit_s)
    try:
        result = solve_beside(
            beside, solver, time_limit_s, on_incumbent=on_incumbent, workers=workers
        )
    except MoeplaceError as error:
        return Trial(*about, error=str(error))
    placement, score, bound = result.placement, result.score, result.bound
    if placement is None or score is None:
        return Trial(*about, error=f"{solver} found no placement", runtime_s=result.runtime_s)
    proved = solver_info(solver).kind == "exact" and bound is not None
    broken = result.status == "infeasible" or bool(slot_violations(beside.problem, placement))
    # A solver's last step may be worth more than its last report, and a baseline reports nothing.
    history = tuple((step.elapsed_s, step.value) for step in result.history)
    if not history or history[-1][1] > score.objective:
        history += ((result.runtime_s, score.objective),)
    return Trial(
        *about,
        value=score.objective,
        lower_bound=bound.value if proved and bound is not None else None,
        runtime_s=result.runtime_s,
        status=result.status,
        limit=result.limit,
        keeps_rules=not broken,
        balancedness=score.balancedness,
        layers_with_duplicates=int((placement.duplicates() > 0).sum()),
        history=history,
        score=score.to_dict(),
    )
