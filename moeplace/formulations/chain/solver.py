"""The solver for ``stay`` execution: layers placed alone first, then with their neighbors."""

from __future__ import annotations

from typing import TYPE_CHECKING

from moeplace.formulations.chain.prices import prices
from moeplace.formulations.chain.sweep import renamed, swept
from moeplace.formulations.heuristics.portfolio import auto
from moeplace.formulations.heuristics.robust import robust
from moeplace.formulations.heuristics.simple import contiguous
from moeplace.formulations.heuristics.tables import without_duplicates
from moeplace.formulations.solver import Run, Solved
from moeplace.placement import evaluate, violations

if TYPE_CHECKING:
    from moeplace.formulations.chain.prices import Prices
    from moeplace.placement import Placement, Problem

SWEEPS = 6
SPREADS = (1.0, 3.0)  # price of uneven loads beside that of copies, for `time`
FIRST_SHARE = 0.4  # of the time limit, for layers on their own


def chain(problem: Problem, run: Run, initial: Placement | None) -> Solved:
    """Place the layers as for ``return``, rename ranks along the chain, then exchange experts.

    Renaming is exact for ``copies`` (kernels ``none`` and ``rank``); for ``time`` it looks at the
    busiest links. Exchanges look at both neighbors and at all copies of a layer; for ``time`` they
    follow linear prices and several weights of balance, and the true objective chooses. Replicas
    come from the first step only. A problem with ``return`` execution, or where nothing depends
    on it, is left to ``auto``.
    """
    if problem.scenarios:
        return robust(problem, run, initial, chain)
    alone = problem.replace(execution="return")
    if problem.execution == "return" or problem.objective == "balance":
        return auto(alone, run, initial)
    left = run.remaining_s()
    first = auto(alone, Run(run.seed, None if left is None else FIRST_SHARE * left), initial)
    found = _Best(problem, run)
    price = prices(problem)
    starts = [p for p in (initial, first.placement) if p is not None]
    for placement in starts:
        found.offer(placement)
        found.offer(renamed(problem, placement, price, run.seed))
    if problem.max_moves is None and not problem.groups_on_nodes:
        plain = contiguous(problem.replace(redundant=0), run, None).placement
        _exchange(problem, run, found, price, [*starts, *([plain] if plain else [])])
    limit = "time" if run.out_of_time() else first.limit
    return Solved(found.placement, limit=limit if found.placement is not None else "")


class _Best:
    """The best feasible placement so far, by the true objective."""

    def __init__(self, problem: Problem, run: Run) -> None:
        self.problem, self.run = problem, run
        self.placement: Placement | None = None
        self.value = float("inf")

    def offer(self, placement: Placement) -> None:
        if violations(self.problem, placement):
            return
        value = evaluate(self.problem, placement).objective
        if value < self.value:
            self.placement, self.value = placement, value
            self.run.report(placement)


def _exchange(
    problem: Problem, run: Run, found: _Best, price: Prices, starts: list[Placement]
) -> None:
    """Exchange experts from every start without replicas, with every price of balance."""
    single = [s for s in starts if (s.replica_count == 1).all()]
    if len(single) < len(starts):  # replicas: also from the layers' best maps without any
        alone = problem.replace(execution="return", redundant=0)
        left = run.remaining_s()
        bare = auto(alone, Run(run.seed, None if left is None else FIRST_SHARE * left), None)
        if bare.placement is not None:
            single.insert(0, bare.placement)
    for weight in SPREADS if problem.objective == "time" else (0.0,):
        for start in single:
            if run.out_of_time():
                return
            named = renamed(problem, without_duplicates(problem, start), price, run.seed)
            spread = weight * price.load * problem.num_ranks / 2
            placement = swept(problem, named, price, spread, run, SWEEPS)
            found.offer(placement)
            found.offer(renamed(problem, placement, price, run.seed))
