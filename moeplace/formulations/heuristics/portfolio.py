"""The default solver: the best known start of every layer, then descent on the objective."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from moeplace.formulations.bounds.load import load_bound
from moeplace.formulations.heuristics.balance import balanced_table
from moeplace.formulations.heuristics.copies_search import counts_ranks, few_copies
from moeplace.formulations.heuristics.cover import replicate_for_cover
from moeplace.formulations.heuristics.eplb import eplb
from moeplace.formulations.heuristics.layer_search import layer_task, run_task, search_terms
from moeplace.formulations.heuristics.lpt import balance_swaps, greedy_replicas, lpt_table
from moeplace.formulations.heuristics.movement import few_moves
from moeplace.formulations.heuristics.policy_search import polish
from moeplace.formulations.heuristics.robust import robust
from moeplace.formulations.heuristics.simple import contiguous
from moeplace.formulations.heuristics.tables import (
    to_placement,
    usable_replicas,
    widened,
    without_duplicates,
)
from moeplace.formulations.solver import Run, Solved
from moeplace.placement import (
    Placement,
    evaluate,
    keep_slots,
    layer_overload,
    relabel_ranks,
    slot_violations,
)
from moeplace.placement.evaluate import slot_compute_s

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from moeplace.placement import Problem

CHUNK = 20  # layers between two reports
PASSES = 8
# another start this much worse than the result is not worth a descent
PROMISING = {"time": 1.3, "balance": 1.3, "copies": 2.0, "hops": 2.0}
PROMISING_BALANCED = 1.03
TIE = 2e-3  # far below what the model of the machine resolves: then steadiness decides
VOLUMES = ("copies", "hops")
LOADS = ("balance", "time")
PARTITION_SHARE = 0.5  # of the time limit; the descent needs the rest
OPTIMAL = 1e-9  # relative distance from the bound at which nothing is left to gain
MAX_TRIES = 20_000  # moves of one layer whose communication is worked out


def auto(problem: Problem, run: Run, initial: Placement | None) -> Solved:
    """Start every layer from the best of several placements and descend.

    Starts: contiguous, for `copies` and `hops` a partition of the token sets, EPLB freed of
    duplicates, balanced packings of the loads and of the kernel times, without and with redundant
    experts; where replicas bring traffic or spare it, the best placement found without any, and
    for dispatch ``cover`` copies added to it; the current placement, also balanced within the
    limit of moves; and `initial`. Deterministic for a seed unless a time limit cuts it short.
    """
    if problem.execution == "stay":
        from moeplace.formulations.chain.solver import chain

        return chain(problem, run, initial)
    if problem.scenarios:
        return robust(problem, run, initial, auto)
    candidates = [
        without_duplicates(problem, solved.placement)
        for solved in (contiguous(problem, run, None), eplb(problem, run, None))
        if solved.placement is not None
    ]
    candidates += _packings(problem)
    ranks_count = counts_ranks(problem)
    if problem.objective in VOLUMES and not ranks_count:
        candidates += _partitioned(problem, run)
    # where copies cost as much as they give, the way leads over the best map without any
    if (
        problem.redundant
        and not ranks_count
        and (problem.dispatch == "cover" or problem.objective in VOLUMES)
    ):
        single = _descend(problem.replace(redundant=0), _quiet(run), candidates).placement
        if single is not None:
            candidates.append(single)
        if single is not None and problem.dispatch == "cover":
            candidates.append(replicate_for_cover(problem, single, run))
    if problem.current is not None:
        candidates = [_relabeled(problem, placement) for placement in candidates]
        candidates.append(without_duplicates(problem, problem.current))
        if problem.max_moves and problem.objective in LOADS:
            candidates.append(few_moves(problem, run))
    if initial is not None:
        candidates.append(initial)
    if ranks_count:
        candidates += few_copies(problem, run, candidates)
    solved = _descend(problem, run, candidates)
    solved = _also_from(problem, run, solved, candidates[0], PROMISING[problem.objective])
    if problem.objective == "time" and problem.redundant and problem.current is None:
        tie = TIE if initial is None else 0.0
        solved = _also_from(problem, run, solved, _balanced(problem), PROMISING_BALANCED, tie)
    if solved.placement is not None:
        solved = replace(solved, placement=polish(problem, run, solved.placement))
    if solved.placement is None or problem.current is None:
        return solved
    same_slots = np.array_equal(problem.current.rank_of_slot, problem.rank_of_slot)
    reference = problem.current if same_slots else without_duplicates(problem, problem.current)
    return replace(solved, placement=keep_slots(solved.placement, reference))


def _also_from(
    problem: Problem, run: Run, solved: Solved, start: Placement, promising: float, tie: float = 0.0
) -> Solved:
    """Descend from another start too, in the layers where it is at most `promising` times worse.

    Every layer keeps the better of both. Where they differ by less than the share `tie`, it keeps
    the one whose replicas carry the more equal loads: as good here, and steadier when loads shift.
    """
    if solved.placement is None or run.out_of_time() or slot_violations(problem, start):
        return solved
    best = _worth(problem, solved.placement)
    wanted = _worth(problem, start)[1] <= promising * best[1]
    if not wanted.any():
        return solved
    kept = without_duplicates(problem, solved.placement).expert_of_slot
    table = np.where(wanted[:, None], without_duplicates(problem, start).expert_of_slot, kept)
    other = _descend(problem, _quiet(run), [to_placement(problem, table)], wanted)
    if other.placement is None:
        return solved
    worth = _worth(problem, other.placement)
    better = _better(worth, best)
    if tie:
        close = (worth[0] <= best[0]) & (np.abs(worth[1] - best[1]) <= tie * best[1])
        steadier = _unevenness(problem, other.placement) < _unevenness(problem, solved.placement)
        better = np.where(close, steadier, better)
    table = np.where(
        better[:, None], without_duplicates(problem, other.placement).expert_of_slot, kept
    )
    combined = to_placement(problem, table)
    run.report(combined)
    return replace(solved, placement=combined, limit=solved.limit or other.limit)


def _unevenness(problem: Problem, placement: Placement) -> NDArray[np.float64]:
    """Return (layers,) Σ (load / replicas)², the variance that proportional drift would bring."""
    uneven: NDArray[np.float64] = (
        (problem.load_share / np.maximum(placement.replica_count, 1)) ** 2
    ).sum(axis=1)
    return uneven


def _worth(
    problem: Problem, placement: Placement
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return (layers,) overloads, which come first, and values."""
    score = evaluate(problem, placement)
    return layer_overload(problem, placement, score), score.layer_objective.copy()


def _better(
    first: tuple[NDArray[np.float64], NDArray[np.float64]],
    second: tuple[NDArray[np.float64], NDArray[np.float64]],
) -> NDArray[np.bool_]:
    """Return (layers,) where the first is less overloaded, or as much and of less value."""
    better: NDArray[np.bool_] = (first[0] < second[0]) | (
        (first[0] == second[0]) & (first[1] < second[1])
    )
    return better


def _relabeled(problem: Problem, placement: Placement) -> Placement:
    """Return the placement with interchangeable ranks named after those of the current one."""
    if problem.current is None:
        return placement
    return relabel_ranks(placement, problem.current, problem.system.topology)


def _partitioned(problem: Problem, run: Run) -> list[Placement]:
    """Return the map of the partitioner, where it applies: few ranks a token, nodes next."""
    if problem.workload.token_sets is None or problem.max_moves is not None:
        return []
    from moeplace.formulations.partition.solver import partition_layers

    found = partition_layers(problem, _share(run, PARTITION_SHARE), None).placement
    return [] if found is None else [found]


def _share(run: Run, part: float) -> Run:
    """Return a run that may use a part of the time that is left, and reports nothing."""
    left = run.remaining_s()
    return Run(run.seed, None if left is None else left * part, workers=run.workers)


def _quiet(run: Run) -> Run:
    """Return a run within the same limits that reports nothing."""
    return Run(run.seed, run.remaining_s(), workers=run.workers)


def _packings(problem: Problem) -> list[Placement]:
    """Return packings of what a rank adds up: pairs, and for ``time`` the kernel's seconds.

    In decode a hot and a cold expert stream the same weights, so packing pairs is not enough.
    """
    share = problem.load_share
    single = np.ones(share.shape, np.int64)
    fewest = -(-problem.num_experts // problem.num_ranks)
    packings = [(single, fewest)]
    if problem.slots_per_rank > fewest:
        packings.append((single, problem.slots_per_rank))
    if problem.redundant:
        count = greedy_replicas(share, usable_replicas(problem), problem.num_ranks)
        packings.append((count, problem.slots_per_rank))
    packed = []
    for count, slots in packings:
        weights = [share]
        if problem.objective == "time":
            weights.append(count * slot_compute_s(problem, share / count))
        for weight in weights:
            table = lpt_table(weight, count, problem.num_ranks, slots)
            table = balance_swaps(weight, table, problem.num_ranks)
            packed.append(to_placement(problem, widened(problem, table)))
    if problem.objective == "balance":
        packed.append(_balanced(problem))
    return packed


def _balanced(problem: Problem) -> Placement:
    """Return the packing with the least largest rank load, every redundant expert used."""
    table = balanced_table(
        problem.load_share, problem.num_ranks, problem.slots_per_rank, usable_replicas(problem)
    )
    return to_placement(problem, table)


def local_search(problem: Problem, run: Run, initial: Placement | None) -> Solved:
    """Descend from `initial`, or from the contiguous placement."""
    start = initial or contiguous(problem, run, None).placement
    return _descend(problem, run, [start] if start else [])


def _descend(
    problem: Problem,
    run: Run,
    candidates: list[Placement],
    wanted: NDArray[np.bool_] | None = None,
) -> Solved:
    """Descend in every layer, or in those wanted, from its best candidate."""
    feasible = [c for c in candidates if not slot_violations(problem, c)]
    if not feasible:
        return Solved(None)
    overs, values = (
        np.array(column) for column in zip(*(_worth(problem, c) for c in feasible), strict=True)
    )
    tables = np.array([without_duplicates(problem, c).expert_of_slot for c in feasible])
    layers = np.arange(problem.num_layers)
    chosen = np.lexsort((values, overs), axis=0)[0]
    if problem.scenarios:  # layers are coupled through the risk: only whole placements compare
        chosen = np.full_like(chosen, np.lexsort((values.sum(axis=1), overs.sum(axis=1)))[0])
    best, worth = tables[chosen, layers], (overs[chosen, layers], values[chosen, layers])
    run.report(to_placement(problem, best))
    terms = search_terms(problem)

    cut_short = False
    rows_left = layers if wanted is None else layers[wanted]
    if problem.objective == "balance" and not problem.scenarios:
        proven = load_bound(problem).value * (1 + OPTIMAL)
        rows_left = rows_left[worth[1][rows_left] > proven[rows_left]]
    with run.workers.started() as pool:
        for first in range(0, rows_left.size, CHUNK):
            chunk = [int(layer) for layer in rows_left[first : first + CHUNK]]
            found = pool.map(
                run_task,
                (
                    layer_task(
                        problem,
                        terms,
                        layer,
                        best[layer],
                        seed=run.seed,
                        passes=PASSES,
                        max_tries=MAX_TRIES,
                        seconds=run.remaining_s(),
                    )
                    for layer in chunk
                ),
            )
            rows = best.copy()
            for layer, descent in zip(chunk, found, strict=True):
                if descent is None:
                    cut_short = True
                else:
                    rows[layer] = descent.row
            trial = _worth(problem, to_placement(problem, rows))
            better = _better(trial, worth)
            if problem.scenarios:
                better[:] = (trial[0].sum(), trial[1].sum()) < (worth[0].sum(), worth[1].sum())
            best[better] = rows[better]
            for kept, new in zip(worth, trial, strict=True):
                kept[better] = new[better]
            if better.any():
                run.report(to_placement(problem, best))
    return Solved(to_placement(problem, best), limit="time" if cut_short else "")
