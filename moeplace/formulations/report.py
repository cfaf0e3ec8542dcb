"""A placement beside what engines do today, in both phases, with a bound that is checked."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from moeplace.errors import InfeasibleError, MoeplaceError
from moeplace.formulations.bounds import Bound, lower_bound
from moeplace.formulations.registry import load_solver
from moeplace.formulations.result import OPTIMAL_GAP, Result, relative_gap
from moeplace.formulations.solver import Run, Solved
from moeplace.placement import evaluate, violations

if TYPE_CHECKING:
    from collections.abc import Mapping

    from moeplace.formulations.result import Incumbent
    from moeplace.placement import Placement, Problem, Score

BASELINES = ("contiguous", "random", "eplb")
AGREEMENT = 1e-9  # a bound may exceed a value by rounding only


def evaluate_result(problem: Problem, placement: Placement, seed: int = 0) -> Result:
    """Report on a given placement as on a solver's: baselines, bound, phases, holdout.

    Parameters
    ----------
    problem
        From :func:`moeplace.make_problem`.
    placement
        Any placement of its layers, experts and ranks.
    seed
        Seed of the random baseline.

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
    solved = Solved(placement)
    bound = checked_bound(problem, not broken, placement, score, lower_bound(problem), solved)
    return beside_baselines(
        problem,
        placement,
        score,
        bound,
        broken=broken,
        limit="",
        solver="evaluate",
        seed=seed,
        runtime_s=time.monotonic() - started,
        history=[],
    )


def beside_baselines(
    problem: Problem,
    placement: Placement,
    score: Score,
    bound: Bound | None,
    *,
    broken: list[str],
    limit: str,
    solver: str,
    seed: int,
    runtime_s: float,
    history: list[Incumbent],
) -> Result:
    """Score the placement and the baselines in both phases and on the part held out."""
    gap = relative_gap(score.objective, None if bound is None else bound.value)
    optimal = gap is not None and gap <= OPTIMAL_GAP
    others = baselines(problem, seed)
    scores, other_scores = {}, {}
    for phase in ("prefill", "decode"):
        here = problem.at_phase(phase)
        scores[phase] = score if phase == problem.phase else evaluate(here, placement)
        other_scores[phase] = {name: evaluate(here, p) for name, p in others.items()}
    held_out: Score | None = None
    held_out_others: Mapping[str, Score] = {}
    if problem.holdout is not None:
        other = problem.with_workload(problem.holdout)
        held_out = evaluate(other, placement)
        held_out_others = {name: evaluate(other, p) for name, p in others.items()}
    doubled = {name: int((p.duplicates() > 0).sum()) for name, p in others.items()}
    return Result(
        problem=problem,
        placement=placement,
        score=score,
        status="infeasible" if broken else "optimal" if optimal else "feasible",
        limit=limit,
        solver=solver,
        seed=seed,
        runtime_s=runtime_s,
        bound=bound,
        history=tuple(history),
        baselines=other_scores[problem.phase],
        scores_by_phase=scores,
        baselines_by_phase=other_scores,
        baseline_duplicates=doubled,
        violations=tuple(broken),
        holdout=held_out,
        holdout_baselines=held_out_others,
    )


def baselines(problem: Problem, seed: int = 0) -> dict[str, Placement]:
    """Return the placements of contiguous, random and EPLB."""
    placements = {}
    for name in BASELINES:
        solved = load_solver(name)(problem, Run(seed=seed), None)
        if solved.placement is None:
            raise InfeasibleError(f"baseline {name} found no placement")
        placements[name] = solved.placement
    return placements


def checked_bound(
    problem: Problem,
    feasible: bool,
    placement: Placement,
    score: Score,
    bound: Bound | None,
    solved: Solved,
) -> Bound | None:
    """Take the solver's bound if it is better; refuse a contradiction instead of showing it."""
    if feasible and (broken := violations(problem, placement)):
        raise MoeplaceError(f"internal error, please report: infeasible placement: {broken[0]}")
    if solved.lower_bound is not None and (bound is None or solved.lower_bound > bound.value):
        layers = bound.layer_value if bound is not None else score.layer_objective * 0
        bound = Bound(solved.lower_bound, "solver", {"solver": solved.lower_bound}, layers)
    if bound is not None and feasible and bound.value > score.objective * (1 + AGREEMENT):
        raise MoeplaceError(
            f"internal error, please report: bound {bound.value!r} ({bound.method}) exceeds the "
            f"value {score.objective!r} of a feasible placement"
        )
    return bound
