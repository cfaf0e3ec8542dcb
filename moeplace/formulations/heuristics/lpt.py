"""Longest processing time with greedy replicas, a slot cap and no expert twice on a rank."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from moeplace.errors import InfeasibleError
from moeplace.formulations.heuristics.tables import to_placement, usable_replicas
from moeplace.formulations.solver import Solved

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from moeplace.formulations.solver import Run
    from moeplace.placement import Placement, Problem


def greedy_replicas(
    load: NDArray[np.float64],
    max_replicas: int,
    max_per_expert: int | None = None,
    *,
    fill: bool = False,
) -> NDArray[np.int64]:
    """Return (layers, experts) replica counts: one more, each time, where load per replica is most.

    This is the count vector with the smallest possible largest load per replica: if M is below
    it, every expert needs ⌈load / M⌉ replicas, which are more than there are. Complexity:
    O(layers · redundant · experts).

    Parameters
    ----------
    load
        (layers, experts), finite and ≥ 0.
    max_replicas
        Replicas of a layer, ≥ experts.
    max_per_expert
        Most replicas of one expert, usually the ranks; None for no limit.
    fill
        Also replicate experts without load until the replicas are used up; by default those
        stay unused.

    Raises
    ------
    InfeasibleError
        If there are fewer replicas than experts.
    """
    layers, experts = load.shape
    if max_replicas < experts:
        raise InfeasibleError(
            f"{max_replicas} replicas for {experts} experts; every expert needs at least one"
        )
    row = np.arange(layers)
    count = np.ones((layers, experts), np.int64)
    share = np.array(load, np.float64)
    if max_per_expert is not None:
        max_replicas = min(max_replicas, experts * max_per_expert)
        if max_per_expert <= 1:
            return count
    for _ in range(max_replicas - experts):
        chosen = share.argmax(axis=1)
        useful = share[row, chosen] >= 0 if fill else share[row, chosen] > 0
        if not useful.any():
            break
        count[row, chosen] += useful
        now = count[row, chosen]
        after = load[row, chosen] / now
        if max_per_expert is not None:
            after = np.where(now >= max_per_expert, -1.0, after)
        share[row, chosen] = np.where(useful, after, share[row, chosen])
    return count


def lpt_table(
    load: NDArray[np.float64],
    count: NDArray[np.int64],
    num_ranks: int,
    slots_per_rank: int,
) -> NDArray[np.int32]:
    """Return (layers, slots): replicas, largest first, on the lightest rank with room.

    Parameters
    ----------
    load
        (layers, experts) loads in any unit.
    count
        (layers, experts) replicas, 1..num_ranks; their sum must fit into the slots.
    num_ranks, slots_per_rank
        R, and the slots of each.

    Raises
    ------
    InfeasibleError
        If the counts fit nowhere.
    """
    from moeplace.formulations.heuristics.packing_kernels import pack_layer

    most, total = int(count.max()), int(count.sum(axis=1).max())
    if most > num_ranks or total > num_ranks * slots_per_rank:
        raise InfeasibleError(
            f"{total} replicas, up to {most} of one expert, do not fit on {num_ranks} ranks x "
            f"{slots_per_rank} slots with an expert at most once on a rank"
        )
    share = np.ascontiguousarray(load / count)
    order = np.argsort(-share, axis=1, kind="stable")
    counts = np.ascontiguousarray(count, np.int64)
    table = np.empty((load.shape[0], num_ranks, slots_per_rank), np.int32)
    for layer in range(load.shape[0]):
        pack_layer(share[layer], counts[layer], order[layer], table[layer])
    return table.reshape(load.shape[0], num_ranks * slots_per_rank)


def balance_swaps(
    load: NDArray[np.float64],
    table: NDArray[np.int32],
    num_ranks: int,
    target: NDArray[np.float64] | float = 0.0,
) -> NDArray[np.int32]:
    """Return the table with smaller largest rank loads, after moves and swaps.

    Replica counts stay as they are; loads never get worse. The slots of a rank may be reordered.

    Parameters
    ----------
    load
        (layers, experts) loads in any unit.
    table
        (layers, slots) experts, −1 for empty slots; every expert at most once on a rank.
    num_ranks
        R; slots are shared out equally.
    target
        (layers,) or one load per rank that is good enough, for example a lower bound.
    """
    from moeplace.formulations.heuristics.packing_kernels import balance_layer

    layers, experts = load.shape
    # Occupied slots first on each rank, as the kernel expects.
    ranks = table.reshape(layers, num_ranks, -1)
    order = np.argsort(ranks < 0, axis=2, kind="stable")
    packed = np.ascontiguousarray(np.take_along_axis(ranks, order, axis=2), np.int32)
    count = np.zeros((layers, experts), np.int64)
    layer, slot = np.nonzero(table >= 0)
    np.add.at(count, (layer, table[layer, slot]), 1)
    share = np.ascontiguousarray(load / np.maximum(count, 1))
    enough = np.broadcast_to(np.asarray(target, np.float64), (layers,))
    for row in range(layers):
        balance_layer(share[row], packed[row], float(enough[row]))
    return packed.reshape(layers, -1)


def lpt(problem: Problem, run: Run, initial: Placement | None) -> Solved:
    """Place greedy replicas by longest processing time; experts without load get one replica."""
    load = problem.load_share
    count = greedy_replicas(load, usable_replicas(problem), problem.num_ranks)
    return Solved(
        to_placement(problem, lpt_table(load, count, problem.num_ranks, problem.slots_per_rank))
    )
