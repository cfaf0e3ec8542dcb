"""From one placement to the next: what must be copied, and how to avoid copying in vain."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from moeplace.hwmodels import Topology
    from moeplace.placement.placement import Placement


def moved_replicas(new: Placement, old: Placement) -> NDArray[np.int64]:
    """Return (layers,) replicas on a rank that did not hold the expert before.

    Each costs one copy of the expert's weights over the fabric. Changing slots inside a rank and
    dropping a replica cost nothing.
    """
    fresh = (new.replicas_on_rank > 0) & (old.replicas_on_rank == 0)
    count: NDArray[np.int64] = fresh.sum(axis=(1, 2), dtype=np.int64)
    return count


def keep_slots(new: Placement, old: Placement) -> Placement:
    """Return `new` with every expert that stays on its rank in the slot it had.

    Both placements must have the same slots. Experts that arrive take the free slots in order.
    """
    table = np.full_like(new.expert_of_slot, -1)
    for rank in range(new.num_ranks):
        slots = np.flatnonzero(new.rank_of_slot == rank)
        for layer in range(new.num_layers):
            arriving = [int(e) for e in new.expert_of_slot[layer, slots] if e >= 0]
            for slot in slots:
                expert = int(old.expert_of_slot[layer, slot])
                if expert in arriving:
                    table[layer, slot] = expert
                    arriving.remove(expert)
            free = iter(slot for slot in slots if table[layer, slot] < 0)
            for expert in arriving:
                table[layer, next(free)] = expert
    return new.replace(expert_of_slot=table)


def relabel_ranks(new: Placement, old: Placement, topology: Topology) -> Placement:
    """Return `new` with ranks renamed, layer by layer, so that the fewest replicas move.

    Only renamings that leave every cost as it is: any order of the ranks of a node and of nodes
    of the same size, or a reflection of a mesh. Ranks must have the same number of slots. Exact
    by linear assignment on clusters, by trying all reflections on meshes. Complexity: O(layers ·
    nodes² · ranks per node³).
    """
    width = new.num_slots // new.num_ranks
    table = new.expert_of_slot.reshape(new.num_layers, new.num_ranks, width)
    stays = np.einsum(
        "lea,leb->lab",
        (new.replicas_on_rank > 0).astype(np.int32),
        (old.replicas_on_rank > 0).astype(np.int32),
    )  # (layers, rank of new, rank of old) experts in common
    renamed = np.empty_like(table)
    for layer in range(new.num_layers):
        target = (
            _best_reflection(stays[layer], topology.shape)
            if topology.shape is not None
            else _best_assignment(stays[layer], topology.node_of_rank)
        )
        renamed[layer, target] = table[layer]
    return new.replace(expert_of_slot=renamed.reshape(new.num_layers, -1))


def _best_reflection(stays: NDArray[np.int32], shape: tuple[int, int]) -> NDArray[np.int64]:
    grid = np.arange(stays.shape[0]).reshape(shape)
    images = [grid, grid[::-1], grid[:, ::-1], grid[::-1, ::-1]]
    targets = [image.ravel() for image in images]
    kept = [int(stays[np.arange(stays.shape[0]), target].sum()) for target in targets]
    best: NDArray[np.int64] = targets[int(np.argmax(kept))]
    return best


def _best_assignment(
    stays: NDArray[np.int32], node_of_rank: NDArray[np.int64]
) -> NDArray[np.int64]:
    from scipy.optimize import linear_sum_assignment

    nodes = [np.flatnonzero(node_of_rank == n) for n in range(int(node_of_rank[-1]) + 1)]
    kept = np.full((len(nodes), len(nodes)), -1e9)
    inner: dict[tuple[int, int], NDArray[np.int64]] = {}
    for a, source in enumerate(nodes):
        for b, goal in enumerate(nodes):
            if source.size == goal.size:
                block = stays[np.ix_(source, goal)]
                row, column = linear_sum_assignment(block, maximize=True)
                kept[a, b] = block[row, column].sum()
                inner[a, b] = goal[column]
    target = np.empty(stays.shape[0], np.int64)
    for a, b in zip(*linear_sum_assignment(kept, maximize=True), strict=True):
        target[nodes[a]] = inner[int(a), int(b)]
    return target
