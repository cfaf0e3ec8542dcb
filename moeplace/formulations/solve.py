"""Solve a problem and show the result beside what engines do today and what is provably best."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING

from moeplace.errors import CheckFailedError, InputError, LimitError
from moeplace.formulations.registry import is_shipped, load_solver, solver_info
from moeplace.formulations.report import Beside, checked_bound
from moeplace.formulations.result import Incumbent, Result
from moeplace.formulations.solver import Run, Solved
from moeplace.parallel import Workers
from moeplace.placement import evaluate, layer_overload, slot_violations
from moeplace.placement.load_cap import overloads

if TYPE_CHECKING:
    from collections.abc import Callable

    from moeplace.formulations.bounds import Bound
    from moeplace.placement import Placement, Problem


class _Tracker:
    """Keeps the best reported placement, so that an interrupt loses nothing."""

    def __init__(
        self,
        problem: Problem,
        bound: Bound,
        on_incumbent: Callable[[Incumbent], None] | None,
    ) -> None:
        self.problem, self.bound, self.on_incumbent = problem, bound, on_incumbent
        self.started = time.monotonic()
        self.best: Placement | None = None
        self.worth = (math.inf, math.inf)  # overload, value
        self.history: list[Incumbent] = []

    def report(self, placement: Placement) -> None:
        score = evaluate(self.problem, placement)
        value = score.objective
        over = float(layer_overload(self.problem, placement, score).sum())
        if self.best is not None and (over, value) >= self.worth:
            return
        self.best, self.worth = placement, (over, value)
        if over > 0:
            return  # kept only as long as nothing keeps the limit on the load
        elapsed_s = time.monotonic() - self.started
        self.history.append(Incumbent(elapsed_s, value, self.bound.value))
        if self.on_incumbent is not None:
            self.on_incumbent(self.history[-1])


def solve(
    problem: Problem,
    solver: str = "auto",
    time_limit_s: float | None = None,
    seed: int = 0,
    initial: Placement | None = None,
    on_incumbent: Callable[[Incumbent], None] | None = None,
    *,
    workers: Workers | None = None,
    bound: Bound | None = None,
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
        A placement to start from, feasible but for `max_load`; the result is never worse.
    on_incumbent
        Called with every better placement's value, bound and gap.
    workers
        Who works on the layers (default: threads on this machine's cores); the placement does
        not depend on it.
    bound
        A bound proven before, for example with ``lower_bound(problem, "strong")``; default: the
        fast one.

    Returns
    -------
    Result
        Interrupted by Ctrl-C, the best so far with ``limit="interrupted"``. If nothing was found
        that keeps the problem's `max_load`, the least overloaded with status ``infeasible``.

    Raises
    ------
    InputError
        If the solver is unknown or does not take the objective, or `initial` is not feasible.
    LimitError
        If a limit was reached before any placement was found.
    CheckFailedError
        If a registered solver's placement is not feasible, though it says that they are.
    """
    return solve_beside(
        Beside(problem, seed, bound),
        solver,
        time_limit_s,
        initial=initial,
        on_incumbent=on_incumbent,
        workers=workers,
    )


def solve_beside(
    beside: Beside,
    solver: str,
    time_limit_s: float | None = None,
    *,
    initial: Placement | None = None,
    on_incumbent: Callable[[Incumbent], None] | None = None,
    workers: Workers | None = None,
) -> Result:
    """Solve as :func:`solve` does, with a bound and baselines that several results share."""
    problem, seed = beside.problem, beside.seed
    info = solver_info(solver)
    if problem.objective not in info.objectives:
        raise InputError(
            f"solver {solver!r} optimizes {', '.join(info.objectives)}, not {problem.objective!r}; "
            f"use --objective {info.objectives[0]} or another solver"
        )
    if problem.groups_on_nodes and info.kind != "exact":
        raise InputError(
            f"solver {solver!r} does not keep expert groups on nodes; use exact-cpsat, exact-pulp "
            "or exact-milp"
        )
    if problem.execution == "stay" and info.kind == "exact":
        raise InputError(
            f"solver {solver!r} solves layers one by one, and execution 'stay' couples them; use "
            "chain, or execution 'return'"
        )
    if time_limit_s is not None and not time_limit_s > 0:
        raise InputError(f"time limit is {time_limit_s} s; it must be positive")
    if initial is not None and (broken := slot_violations(problem, initial)):
        raise InputError(f"the initial placement is not feasible: {broken[0]}")
    tracker = _Tracker(problem, beside.bound, on_incumbent)
    started = time.monotonic()
    if initial is not None and info.kind != "baseline":
        tracker.report(initial)
    run = Run(seed, time_limit_s, tracker.report, workers or Workers())
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
    if not is_shipped(solver) and info.feasible and (broken := slot_violations(problem, placement)):
        raise CheckFailedError(f"solver {solver!r} broke a rule of the problem: {broken[0]}")
    score = evaluate(problem, placement)
    runtime_s = time.monotonic() - started
    bound = checked_bound(problem, info.feasible, placement, score, beside.bound, solved)
    return beside.result(
        placement,
        score,
        bound,
        solver=solver,
        runtime_s=runtime_s,
        broken=overloads(problem, placement),
        limit=solved.limit,
        history=tracker.history,
    )
