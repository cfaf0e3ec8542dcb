"""The best of all placements of one layer, by trying every one."""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np

from moeplace.placement import Placement, evaluate

if TYPE_CHECKING:
    from collections.abc import Iterator

    from moeplace.placement import Problem

Ranks = tuple[int, ...]
CHUNK = 512  # placements scored together, as layers of one problem


def all_rows(problem: Problem) -> Iterator[tuple[Ranks, ...]]:
    """Yield every feasible layer: the ranks of each expert, at least one, none twice.

    At most ``problem.max_replicas`` replicas, at most ``problem.slots_per_rank`` on a rank.
    """
    room = [problem.slots_per_rank] * problem.num_ranks
    yield from _rows(problem.num_experts, room, problem.redundant)


def _rows(experts: int, room: list[int], redundant: int) -> Iterator[tuple[Ranks, ...]]:
    if experts == 0:
        yield ()
        return
    free = [rank for rank, slots in enumerate(room) if slots]
    for size in range(1, min(len(free), redundant + 1) + 1):
        for ranks in combinations(free, size):
            left = [slots - (rank in ranks) for rank, slots in enumerate(room)]
            for rest in _rows(experts - 1, left, redundant - size + 1):
                yield (ranks, *rest)


def slot_row(problem: Problem, row: tuple[Ranks, ...]) -> list[int]:
    """Return (slots,) the experts of a layer, rank by rank, −1 for empty slots."""
    slots: list[int] = []
    for rank in range(problem.num_ranks):
        held = [expert for expert, ranks in enumerate(row) if rank in ranks]
        slots += held + [-1] * (problem.slots_per_rank - len(held))
    return slots


def optimum(problem: Problem) -> dict[str, tuple[float, Placement]]:
    """Return the least value of each objective over all placements, and a placement with it."""
    if problem.num_layers != 1:
        raise ValueError("one layer at a time")
    rows = [slot_row(problem, row) for row in all_rows(problem)]
    best: dict[str, tuple[float, Placement]] = {}
    for start in range(0, len(rows), CHUNK):
        table = np.array(rows[start : start + CHUNK], np.int32)
        scored = _score(problem, table)
        for name, values in scored.items():
            at = int(values.argmin())
            if name not in best or values[at] < best[name][0]:
                best[name] = float(values[at]), _placement(problem, table[at : at + 1])
    return best


def _score(problem: Problem, table: np.ndarray) -> dict[str, np.ndarray]:
    """Score many placements of one layer as the layers of one problem."""
    copies = len(table)
    workload = problem.workload
    model = problem.model.replace(num_layers=copies, moe_layers=tuple(range(copies)))
    many = problem.replace(
        model=model,
        workload=workload.replace(
            load=np.repeat(workload.load, copies, axis=0),
            layer_ids=tuple(range(copies)),
            token_sets=workload.token_sets and workload.token_sets * copies,
            transition_counts=None,
            anchored=None,
        ),
    )
    score = evaluate(many, _placement(many, table))
    return {
        "time": score.layer_time_s,
        "balance": score.rank_load.max(axis=1),
        "copies": score.layer_copies,
        "hops": score.layer_hops,
    }


def _placement(problem: Problem, table: np.ndarray) -> Placement:
    return Placement(
        table,
        problem.rank_of_slot,
        problem.num_experts,
        problem.num_ranks,
        problem.workload.layer_ids,
    )
