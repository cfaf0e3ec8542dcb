"""Slot tables: from experts in slot order to the placement of a problem."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from moeplace.placement import Placement

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from moeplace.placement import Problem


def usable_replicas(problem: Problem) -> int:
    """Return the most replicas a layer can hold: limit, slots, and one per expert and rank."""
    return min(problem.max_replicas, problem.num_slots, problem.num_experts * problem.num_ranks)


def cut_into_ranks(
    order: NDArray[np.int32], num_ranks: int, slots_per_rank: int
) -> NDArray[np.int32]:
    """Return (layers, ranks · slots_per_rank): replicas in order, cut into ranks of equal size.

    The first n mod R ranks hold one more (DESIGN §5, capacity); slots left over are −1.

    Parameters
    ----------
    order
        (layers, n) the expert of each replica, n ≤ ranks · slots_per_rank.
    num_ranks, slots_per_rank
        R, and the slots of each.
    """
    layers, total = order.shape
    sizes = total // num_ranks + (np.arange(num_ranks) < total % num_ranks)
    slot = np.flatnonzero(np.arange(slots_per_rank)[None, :] < sizes[:, None])
    table = np.full((layers, num_ranks * slots_per_rank), -1, np.int32)
    table[:, slot] = order
    return table


def to_placement(problem: Problem, table: NDArray[np.int32]) -> Placement:
    """Return the problem's placement with (layers, slots) experts, −1 for empty slots."""
    return Placement(
        table,
        problem.rank_of_slot,
        problem.num_experts,
        problem.num_ranks,
        problem.workload.layer_ids,
    )


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
    return to_placement(problem, table)


def widened(problem: Problem, table: NDArray[np.int32]) -> NDArray[np.int32]:
    """Return (layers, slots) a table with fewer slots a rank in the problem's slots."""
    layers = table.shape[0]
    ranks = table.reshape(layers, problem.num_ranks, -1)
    wide = np.full((layers, problem.num_ranks, problem.slots_per_rank), -1, np.int32)
    wide[:, :, : ranks.shape[2]] = ranks
    return wide.reshape(layers, -1)
