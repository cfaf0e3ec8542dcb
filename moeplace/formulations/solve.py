"""Solve a problem and show the result beside what engines do today and what is provably best."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from moeplace.errors import InfeasibleError, InputError, LimitError, MoeplaceError
from moeplace.formulations.bounds import Bound, lower_bound
from moeplace.formulations.registry import load_solver, solver_info
from moeplace.formulations.result import OPTIMAL_GAP, Incumbent, Result, relative_gap
from moeplace.formulations.solver import Run, Solved
from moeplace.placement import evaluate, violations

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from moeplace.placement import Placement, Problem, Score

BASELINES = ("contiguous", "random", "eplb")
AGREEMENT = 1e-9  # a bound may exceed a value by rounding only


class _Tracker:
    """Keeps the best reported placement, so that an interrupt loses nothing."""

    def __init__(
        self,
        problem: Problem,
        bound: Bound | None,
        on_incumbent: Callable[[Incumbent], None] | None,
    ) -> None:
        self.problem, self.bound, self.on_incumbent = problem, bound, on_incumbent
        self.started = time.monotonic()
        self.best: Placement | None = None
        self.history: list[Incumbent] = []

    def report(self, placement: Placement) -> None:
        value = evaluate(self.problem, placement).objective
        if self.history and value >= self.history[-1].value:
            return
        self.best = placement
        bound = None if self.bound is None else self.bound.value
        self.history.append(Incumbent(time.monotonic() - self.started, value, bound))
        if self.on_incumbent is not None:
            self.on_incumbent(self.history[-1])


def solve(
    problem: Problem,
    solver: str = "auto",
    time_limit_s: float | None = None,
    seed: int = 0,
    initial: Placement | None = None,
    on_incumbent: Callable[[Incumbent], None] | None = None,
) -> Result:
    """Find a placement; score it, its baselines and its distance from a proven bound.

    Parameters
    ----------
    problem
        From :func:`moeplace.make_problem`.
    solver
        A name of :func:`moeplace.formulations.registry.SOLVERS`.
    time_limit_s
        Seconds for the solver; None lets it run to its own end.
    seed
        Same seed, same placement (without a time limit).
    initial
        A feasible placement to start from; the result is never worse.
    on_incumbent
        Called with every better placement's value, bound and gap.

    Returns
    -------
    Result
        Interrupted by Ctrl-C, the best so far with ``limit="interrupted"``.

    Raises
    ------
    InputError
        If the solver is unknown or does not take the objective, or `initial` is not feasible.
    LimitError
        If a limit was reached before any placement was found.
    """
    info = solver_info(solver)
    if problem.objective not in info.objectives:
        raise InputError(
            f"solver {solver!r} optimizes {', '.join(info.objectives)}, not {problem.objective!r}; "
            f"use --objective {info.objectives[0]} or another solver"
        )
    if time_limit_s is not None and not time_limit_s > 0:
        raise InputError(f"time limit is {time_limit_s} s; it must be positive")
    if initial is not None and (broken := violations(problem, initial)):
        raise InputError(f"the initial placement is not feasible: {broken[0]}")
    started = time.monotonic()
    bound: Bound | None = lower_bound(problem)
    tracker = _Tracker(problem, bound, on_incumbent)
    if initial is not None and info.kind != "baseline":
        tracker.report(initial)
    run = Run(seed=seed, time_limit_s=time_limit_s, report=tracker.report)
    try:
        solved = load_solver(solver)(problem, run, initial)
    except KeyboardInterrupt:
        if tracker.best is None:
            raise
        solved = Solved(tracker.best, limit="interrupted")
    placement = solved.placement
    if placement is None or info.kind != "baseline":
        if placement is not None:
            tracker.report(placement)
        placement = tracker.best
    if placement is None:
        raise LimitError(f"{solver} found no placement within its limit; allow it more time")
    score = evaluate(problem, placement)
    bound = _checked_bound(problem, info.feasible, placement, score, bound, solved)
    gap = relative_gap(score.objective, None if bound is None else bound.value)
    runtime_s = time.monotonic() - started
    others = baselines(problem, seed)
    scores = {phase: evaluate(problem.at_phase(phase), placement) for phase in _phases(problem)}
    scores[problem.phase] = score
    held_out: Score | None = None
    held_out_others: Mapping[str, Score] = {}
    if problem.holdout is not None:
        other = problem.with_workload(problem.holdout)
        held_out = evaluate(other, placement)
        held_out_others = {name: evaluate(other, p) for name, p in others.items()}
    return Result(
        problem=problem,
        placement=placement,
        score=score,
        status="optimal" if gap is not None and gap <= OPTIMAL_GAP else "feasible",
        limit=solved.limit,
        solver=solver,
        seed=seed,
        runtime_s=runtime_s,
        bound=bound,
        history=tuple(tracker.history),
        baselines={name: evaluate(problem, p) for name, p in others.items()},
        scores_by_phase={phase: scores[phase] for phase in ("prefill", "decode")},
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


def _phases(problem: Problem) -> list[str]:
    return [phase for phase in ("prefill", "decode") if phase != problem.phase]


def _checked_bound(
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
