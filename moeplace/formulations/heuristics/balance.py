"""Near-optimal load balance: greedy replicas, LPT, swaps, then exchange of replicas."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from moeplace.formulations.bounds.load import max_rank_pairs_bound
from moeplace.formulations.heuristics.exchange import exchange_replicas
from moeplace.formulations.heuristics.lpt import greedy_replicas, lpt_table

if TYPE_CHECKING:
    from numpy.typing import NDArray

CLOSE_ENOUGH = 1e-4  # a layer this close to its bound is left as it is
WORTH_EXCHANGING = 1e-3  # a layer further from its bound than this also changes replica counts
TRIES = 32  # packings of a layer with changed counts
GIVERS = 4  # experts asked for a replica, for each that wants one


def balanced_table(
    load: NDArray[np.float64],
    num_ranks: int,
    slots_per_rank: int,
    max_replicas: int,
    *,
    fill: bool = False,
    tries: int = TRIES,
    close_enough: float = CLOSE_ENOUGH,
) -> NDArray[np.int32]:
    """Return (layers, slots) experts, −1 empty, with a small largest rank load in every layer.

    No expert lies twice on a rank. Deterministic. A few ms per layer of 256 experts at most.

    Parameters
    ----------
    load
        (layers, experts) loads in any unit, finite and ≥ 0.
    num_ranks, slots_per_rank
        R, and the slots of each.
    max_replicas
        Most replicas of a layer.
    fill
        Also replicate experts without load until the replicas are used up.
    tries
        Most packings of a layer with changed replica counts.
    close_enough
        Relative distance from the lower bound at which a layer is left as it is.

    Raises
    ------
    InfeasibleError
        If the experts do not fit.
    """
    from moeplace.formulations.heuristics.packing_kernels import balance_layer

    layers = load.shape[0]
    load = np.array(
        load, np.float64, order="C"
    )  # writable: compiled once, not for frozen loads too
    replicas = min(max_replicas, num_ranks * slots_per_rank)
    count = greedy_replicas(load, replicas, num_ranks, fill=fill)
    table = lpt_table(load, count, num_ranks, slots_per_rank)
    bound = max_rank_pairs_bound(load, num_ranks, slots_per_rank, replicas).value
    ranks = table.reshape(layers, num_ranks, slots_per_rank)
    share = load / count
    for layer in range(layers):
        worst = balance_layer(share[layer], ranks[layer], bound[layer] * (1 + close_enough))
        target = bound[layer] * (1 + WORTH_EXCHANGING)
        if worst > target and replicas > load.shape[1] and tries > 0:
            exchange_replicas(
                load[layer],
                count[layer],
                ranks[layer],
                target=target,
                tries=tries,
                givers=GIVERS,
                keep_all=fill,
            )
    return table


def max_rank_load(
    load: NDArray[np.float64], table: NDArray[np.int32], num_ranks: int
) -> NDArray[np.float64]:
    """Return (layers,) the load of the fullest rank when replicas share a load evenly.

    Parameters
    ----------
    load
        (layers, experts) loads in any unit.
    table
        (layers, slots) experts, −1 for empty slots; slots are shared out equally over the ranks.
    num_ranks
        R.
    """
    layers = load.shape[0]
    occupied = table >= 0
    expert = np.where(occupied, table, 0)
    count = np.zeros(load.shape)
    np.add.at(count, (np.arange(layers)[:, None], expert), occupied)
    share = np.divide(load, count, out=np.zeros(load.shape), where=count > 0)
    on_slot = np.where(occupied, np.take_along_axis(share, expert, axis=1), 0.0)
    worst: NDArray[np.float64] = on_slot.reshape(layers, num_ranks, -1).sum(axis=2).max(axis=1)
    return worst
