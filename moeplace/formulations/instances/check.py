"""The library re-scored: placements, values and bounds, by who did not make them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from moeplace.errors import CheckFailedError, MoeplaceError
from moeplace.formulations.bounds import EFFORTS, lower_bound
from moeplace.formulations.registry import SOLVERS, load_solver
from moeplace.formulations.solver import Run
from moeplace.placement import evaluate, violations

if TYPE_CHECKING:
    from moeplace.formulations.instances.library import Instance, Record
    from moeplace.placement import Problem

SAME = 1e-9  # relative difference of two evaluations of one placement
PROVEN = 1e-6  # share by which a bound may exceed its proof: programs are solved anew
PROOF_LIMIT_S = 300.0
QUICKEST = "exact-milp"  # asked first


@dataclass(frozen=True)
class InstanceCheck:
    """What was found for one instance.

    Attributes
    ----------
    value
        Of the stored placement, scored here; None where there is none.
    fast_bound
        What the fast theorems prove here.
    problems
        What does not hold, in words; empty if all holds.
    """

    name: str
    value: float | None
    fast_bound: float
    problems: tuple[str, ...]

    @property
    def holds(self) -> bool:
        """Whether everything holds."""
        return not self.problems

    def raise_if_broken(self) -> None:
        """Raise unless everything holds.

        Raises
        ------
        CheckFailedError
            Naming the first thing that does not.
        """
        if self.problems:
            raise CheckFailedError(f"instance {self.name}: {self.problems[0]}")


def check_instance(instance: Instance, *, prove: bool = False) -> InstanceCheck:
    """Score the best known placement again and hold values and bounds against each other.

    The placement must keep the problem's rules and have the value that is stored; no bound, the
    stored one or one worked out here, may exceed it; a bound by fast theorems must be reached
    again.

    Parameters
    ----------
    instance
        From :func:`moeplace.load_instance`.
    prove
        Also prove strong bounds again, and an exact solver's by another one if that can: seconds to
        minutes.
    """
    problem, record, placement = instance.problem, instance.record, instance.placement
    fast = lower_bound(problem).value
    if record is None or placement is None:
        return InstanceCheck(instance.name, None, fast, ("no best known placement is stored",))
    value = evaluate(problem, placement).objective
    found = [f"the placement breaks a rule: {rule}" for rule in violations(problem, placement)[:1]]
    if not math.isclose(value, record.value, rel_tol=SAME):
        found.append(f"the placement is worth {value!r}, stored is {record.value!r}")
    for what, bound in (("the stored bound", record.lower_bound), ("the fast bound", fast)):
        if bound > value * (1 + SAME):
            found.append(f"{what} {bound!r} exceeds the value {value!r} of a placement")
    if record.proven_by == "fast" and record.lower_bound > fast * (1 + PROVEN):
        found.append(f"the fast theorems prove {fast!r}, stored is {record.lower_bound!r}")
    if prove and not found and record.proven_by != "fast":
        again, by = _proven_again(problem, record)
        if again is None or record.lower_bound > again * (1 + PROVEN):
            found.append(f"stored is the bound {record.lower_bound!r}; {by} proves {again!r}")
    return InstanceCheck(instance.name, value, fast, tuple(found))


def _proven_again(problem: Problem, record: Record) -> tuple[float | None, str]:
    """Return what another exact solver, or the theorems, prove, and its name."""
    if record.proven_by in EFFORTS:
        return lower_bound(problem, record.proven_by).value, record.proven_by
    exact = [name for name, info in SOLVERS.items() if info.kind == "exact"]
    best, by = None, "no other exact solver"
    # the solver that proved it comes last: some bounds only one of them reaches in a minute
    for name in sorted(exact, key=lambda name: (name == record.proven_by, name != QUICKEST)):
        try:
            solved = load_solver(name)(problem, Run(seed=0, time_limit_s=PROOF_LIMIT_S), None)
        except MoeplaceError:
            continue
        if solved.lower_bound is not None and (best is None or solved.lower_bound > best):
            best, by = float(solved.lower_bound), name
        if best is not None and best >= record.lower_bound * (1 - PROVEN):
            break
    return best, by
