"""How many redundant experts pay."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from moeplace.errors import InfeasibleError
from moeplace.formulations.solve import solve

if TYPE_CHECKING:
    from collections.abc import Callable

    from moeplace.formulations.result import Incumbent, Result
    from moeplace.parallel import Workers
    from moeplace.placement import Problem

WORTH = 0.002  # a further slot on every rank must lower the objective by this share


@dataclass(frozen=True, eq=False)
class RedundancyChoice:
    """The redundancy that pays and what was seen on the way.

    Attributes
    ----------
    result
        Of the chosen redundancy.
    steps
        (redundant, objective) of every redundancy tried, ascending.
    stopped
        Why no more was tried: what one more slot a rank brings, or what forbids it.
    """

    result: Result
    steps: tuple[tuple[int, float], ...]
    stopped: str


def solve_redundancy(
    problem: Problem,
    solver: str = "auto",
    time_limit_s: float | None = None,
    seed: int = 0,
    *,
    worth: float = WORTH,
    on_incumbent: Callable[[Incumbent], None] | None = None,
    workers: Workers | None = None,
) -> RedundancyChoice:
    """Add slots rank by rank while they pay, and solve with what does.

    First no redundancy, then as many redundant experts as fill every rank's slots, then one slot
    more on every rank at a time, each solve starting from the map before. Stops at the first step
    that lowers the objective by less than `worth` of it, or that the memory forbids.

    Parameters
    ----------
    problem
        Its own redundancy and slots are replaced.
    solver, time_limit_s, seed, on_incumbent, workers
        As for :func:`moeplace.solve`; the limit holds for every step.
    worth
        Least relative gain of a step.

    Raises
    ------
    InfeasibleError
        If the experts do not fit even without redundancy.
    """
    experts, ranks = problem.num_experts, problem.num_ranks
    first = -(-experts // ranks) * ranks - experts
    counts = [0, *range(first or ranks, experts * (ranks - 1) + 1, ranks)]
    chosen: Result | None = None
    steps: list[tuple[int, float]] = []
    stopped = "every rank holds every expert"
    for count in counts:
        try:
            trial = problem.with_redundancy(count)
        except InfeasibleError as error:
            if chosen is None:
                raise
            stopped = f"{count} redundant experts do not fit: {error}"
            break
        initial = None if chosen is None else chosen.placement
        result = solve(trial, solver, time_limit_s, seed, initial, on_incumbent, workers=workers)
        value = result.score.objective if result.score is not None else float("inf")
        steps.append((count, value))
        if chosen is not None and chosen.score is not None:
            gain = 1 - value / chosen.score.objective if chosen.score.objective > 0 else 0.0
            if gain < worth:
                stopped = f"{count} redundant experts would bring {gain:.2%}"
                break
        chosen = result
        if result.limit == "interrupted":
            stopped = "interrupted"
            break
    if chosen is None:
        raise InfeasibleError("no redundancy could be tried")
    return RedundancyChoice(chosen, tuple(steps), stopped)
