"""The default solver: the best known start of every layer, then descent on the objective."""

from __future__ import annotations

from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from typing import TYPE_CHECKING

import numpy as np

from moeplace.formulations.heuristics.eplb import eplb
from moeplace.formulations.heuristics.layer_search import improve_layer, search_terms
from moeplace.formulations.heuristics.lpt import lpt
from moeplace.formulations.heuristics.simple import contiguous
from moeplace.formulations.solver import Solved
from moeplace.placement import Placement, evaluate, violations

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from moeplace.formulations.solver import Run
    from moeplace.placement import Problem

THREADS = 2
CHUNK = 20  # descents between two reports; at most one per layer and start
PASSES = 8
MAX_TRIES = 12_000  # moves of one layer whose communication is worked out
PROMISING = 1.25  # a start this much worse than the layer's best is not worth a descent


def auto(problem: Problem, run: Run, initial: Placement | None) -> Solved:
    """Start every layer from the best of several placements and descend.

    Starts: contiguous, LPT without and with redundant experts, EPLB freed of duplicates, and
    `initial`. Deterministic for a seed unless a time limit cuts it short.
    """
    starts = [contiguous(problem, run, None), lpt(problem, run, None), eplb(problem, run, None)]
    if problem.redundant:
        starts.append(lpt(problem.replace(redundant=0), run, None))
    candidates = [
        without_duplicates(problem, solved.placement)
        for solved in starts
        if solved.placement is not None
    ]
    if initial is not None:
        candidates.append(initial)
    return _descend(problem, run, candidates, starts_per_layer=2)


def local_search(problem: Problem, run: Run, initial: Placement | None) -> Solved:
    """Descend from `initial`, or from the contiguous placement."""
    start = initial or contiguous(problem, run, None).placement
    return _descend(problem, run, [start] if start else [], starts_per_layer=1)


def without_duplicates(problem: Problem, placement: Placement) -> Placement:
    """Return the placement with second copies on a rank emptied, in the problem's slots.

    The first copy in slot order stays. Slots beyond the problem's are never occupied then.
    """
    table = np.full((problem.num_layers, problem.num_slots), -1, np.int32)
    for layer in range(problem.num_layers):
        for rank in range(problem.num_ranks):
            slots = placement.expert_of_slot[layer, placement.rank_of_slot == rank]
            experts = list(dict.fromkeys(int(e) for e in slots if e >= 0))
            base = rank * problem.slots_per_rank
            table[layer, base : base + len(experts)] = experts
    return Placement(
        table,
        problem.rank_of_slot,
        problem.num_experts,
        problem.num_ranks,
        problem.workload.layer_ids,
    )


def _descend(
    problem: Problem, run: Run, candidates: list[Placement], *, starts_per_layer: int
) -> Solved:
    feasible = [c for c in candidates if not violations(problem, c)]
    if not feasible:
        return Solved(None)
    values = np.array([evaluate(problem, c).layer_objective for c in feasible])
    order = np.argsort(values, axis=0, kind="stable")
    tables = np.array([_table(problem, c) for c in feasible])
    layers = np.arange(problem.num_layers)
    best = tables[order[0], layers]
    best_value = values[order[0], layers]
    run.report(_placement(problem, best))
    terms = search_terms(problem)

    def task(job: tuple[int, int]) -> tuple[int, NDArray[np.int32]] | None:
        place, layer = job
        if run.out_of_time():
            return None
        start = tables[order[place, layer], layer]
        return layer, improve_layer(
            problem,
            terms,
            layer,
            start,
            seed=run.seed,
            passes=PASSES,
            max_tries=MAX_TRIES,
        )

    jobs = [
        (place, layer)
        for place in range(min(starts_per_layer, len(feasible)))
        for layer in range(problem.num_layers)
        if _worth_it(tables[order[:, layer], layer], values[order[:, layer], layer], place)
    ]
    cut_short = False
    pool = ThreadPoolExecutor(THREADS)
    try:
        for first in range(0, len(jobs), CHUNK):
            pending = {pool.submit(task, job) for job in jobs[first : first + CHUNK]}
            rows = best.copy()
            found = []
            while pending:
                done, pending = wait(pending, return_when=FIRST_COMPLETED)
                found += [future.result() for future in done]
            cut_short |= any(item is None for item in found)
            for item in found:
                if item is not None:
                    rows[item[0]] = item[1]
            trial = evaluate(problem, _placement(problem, rows)).layer_objective
            better = trial < best_value
            best[better], best_value[better] = rows[better], trial[better]
            if better.any():
                run.report(_placement(problem, best))
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
    return Solved(_placement(problem, best), limit="time" if cut_short else "")


def _worth_it(tables: NDArray[np.int32], values: NDArray[np.float64], place: int) -> bool:
    """Return whether a layer's start number `place` is new and not hopeless."""
    if place and values[place] > PROMISING * values[0]:
        return False
    return not any(np.array_equal(tables[place], earlier) for earlier in tables[:place])


def _table(problem: Problem, placement: Placement) -> NDArray[np.int32]:
    """Return (layers, slots) of a feasible placement in the problem's own slots."""
    return without_duplicates(problem, placement).expert_of_slot


def _placement(problem: Problem, table: NDArray[np.int32]) -> Placement:
    return Placement(
        table,
        problem.rank_of_slot,
        problem.num_experts,
        problem.num_ranks,
        problem.workload.layer_ids,
    )
