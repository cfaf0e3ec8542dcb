"""A placement beside what engines do today, in both phases, with a bound that is checked."""

from __future__ import annotations

import time
from functools import cached_property
from typing import TYPE_CHECKING

from moeplace.errors import InfeasibleError, InputError, MoeplaceError
from moeplace.formulations.bounds import Bound, lower_bound
from moeplace.formulations.registry import load_solver
from moeplace.formulations.result import OPTIMAL_GAP, Result, relative_gap
from moeplace.formulations.solver import Run, Solved
from moeplace.placement import evaluate, layer_overload, slot_violations, violations

if TYPE_CHECKING:
    from collections.abc import Sequence

    from moeplace.formulations.result import Incumbent
    from moeplace.placement import Placement, Problem, Score

PHASES = ("prefill", "decode")
BASELINES = ("contiguous", "random", "eplb")
AGREEMENT = 1e-9  # a bound may exceed a value by rounding only


class Beside:
    """What every result on one problem is shown beside: the bound and the baselines, made once.

    Attributes
    ----------
    problem
        The problem, in its own phase.
    seed
        Seed of the random baseline.
    given
        A bound that was proven before, None for the fast one.
    """

    def __init__(self, problem: Problem, seed: int = 0, given: Bound | None = None) -> None:
        if seed < 0:
            raise InputError(f"seed is {seed}; it cannot be negative")
        self.problem, self.seed, self.given = problem, seed, given

    def at(self, seed: int) -> Beside:
        """Return the same with another seed; what does not depend on it is shared."""
        other = Beside(self.problem, seed, self.bound)
        other.__dict__["phases"] = self.phases
        return self if seed == self.seed else other

    @cached_property
    def bound(self) -> Bound:
        """The proven bound."""
        return lower_bound(self.problem) if self.given is None else self.given

    @cached_property
    def placements(self) -> dict[str, Placement]:
        """The placements of contiguous, random and EPLB."""
        placements = {}
        for name in BASELINES:
            solved = load_solver(name)(self.problem, Run(seed=self.seed), None)
            if solved.placement is None:
                raise InfeasibleError(f"baseline {name} found no placement")
            placements[name] = solved.placement
        return placements

    @cached_property
    def phases(self) -> dict[str, Problem]:
        """The problem in prefill and in decode."""
        return {phase: self.problem.at_phase(phase) for phase in PHASES}

    @cached_property
    def scores(self) -> dict[str, dict[str, Score]]:
        """The baselines' scores by phase."""
        return {phase: self._score_all(problem) for phase, problem in self.phases.items()}

    @cached_property
    def holdout(self) -> tuple[Problem, dict[str, Score]] | None:
        """The problem on the part held out and the baselines' scores there, None without one."""
        if self.problem.holdout is None:
            return None
        other = self.problem.with_workload(self.problem.holdout)
        return other, self._score_all(other)

    def _score_all(self, problem: Problem) -> dict[str, Score]:
        return {name: evaluate(problem, p) for name, p in self.placements.items()}

    def result(
        self,
        placement: Placement,
        score: Score,
        bound: Bound | None,
        *,
        solver: str,
        runtime_s: float,
        broken: Sequence[str] = (),
        limit: str = "",
        history: Sequence[Incumbent] = (),
    ) -> Result:
        """Return the result for a placement, scored in both phases and on the part held out."""
        gap = relative_gap(score.objective, None if bound is None else bound.value)
        optimal = gap is not None and gap <= OPTIMAL_GAP
        held = self.holdout
        return Result(
            problem=self.problem,
            placement=placement,
            score=score,
            status="infeasible" if broken else "optimal" if optimal else "feasible",
            limit=limit,
            solver=solver,
            seed=self.seed,
            runtime_s=runtime_s,
            bound=bound,
            history=tuple(history),
            baselines=self.scores[self.problem.phase],
            scores_by_phase={
                phase: score if phase == self.problem.phase else evaluate(problem, placement)
                for phase, problem in self.phases.items()
            },
            baselines_by_phase=self.scores,
            baseline_duplicates={
                name: int((p.duplicates() > 0).sum()) for name, p in self.placements.items()
            },
            violations=tuple(broken),
            scenarios=tuple(evaluate(s, placement) for s in self.problem.scenarios),
            holdout=None if held is None else evaluate(held[0], placement),
            holdout_baselines={} if held is None else held[1],
        )


def evaluate_result(
    problem: Problem, placement: Placement, seed: int = 0, bound: Bound | None = None
) -> Result:
    """Report on a given placement as on a solver's: baselines, bound, phases, holdout.

    Parameters
    ----------
    problem
        From :func:`moeplace.make_problem`.
    placement
        Any placement of its layers, experts and ranks.
    seed
        Seed of the random baseline.
    bound
        A bound proven before, for example with ``lower_bound(problem, "strong")``.

    Returns
    -------
    Result
        Solver ``evaluate``; status ``infeasible`` with `violations` if a rule is broken.

    Raises
    ------
    InputError
        If the placement is one of other layers, experts or ranks.
    InfeasibleError
        If an expert has no replica.
    """
    started = time.monotonic()
    score = evaluate(problem, placement)
    broken = violations(problem, placement)
    runtime_s = time.monotonic() - started
    beside = Beside(problem, seed, bound)
    solved = Solved(placement)
    best = checked_bound(problem, not broken, placement, score, beside.bound, solved)
    return beside.result(
        placement, score, best, solver="evaluate", runtime_s=runtime_s, broken=broken
    )


def checked_bound(
    problem: Problem,
    feasible: bool,
    placement: Placement,
    score: Score,
    bound: Bound | None,
    solved: Solved,
) -> Bound | None:
    """Take the solver's bound if it is better; refuse a contradiction instead of showing it."""
    if feasible and (broken := slot_violations(problem, placement)):
        raise MoeplaceError(f"internal error, please report: infeasible placement: {broken[0]}")
    if solved.lower_bound is not None and (bound is None or solved.lower_bound > bound.value):
        layers = bound.layer_value if bound is not None else score.layer_objective * 0
        bound = Bound(solved.lower_bound, "solver", {"solver": solved.lower_bound}, layers)
    feasible &= not layer_overload(problem, placement, score).any()
    if bound is not None and feasible and bound.value > score.objective * (1 + AGREEMENT):
        raise MoeplaceError(
            f"internal error, please report: bound {bound.value!r} ({bound.method}) exceeds the "
            f"value {score.objective!r} of a feasible placement"
        )
    return bound
