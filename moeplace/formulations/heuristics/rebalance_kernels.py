"""A layer's map for ``rebalance_experts`` in one compiled pass, never worse than EPLB's.

Experts come sorted once; what is replicated is merged back into that order.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numba import njit

from moeplace.formulations.heuristics.eplb_kernels import fullest
from moeplace.formulations.heuristics.packing_kernels import balance_layer, pack_layer

if TYPE_CHECKING:
    from numpy.typing import NDArray


@njit(cache=True, nogil=True)
def balance_layers(
    load: NDArray[np.float64],
    single: NDArray[np.float32],
    order: NDArray[np.int64],
    close_enough: float,
    table: NDArray[np.int32],
) -> NDArray[np.float64]:
    """Fill `table` layer by layer; return (layers,) the largest rank loads.

    Greedy replicas, largest first on the lightest rank, swaps until `close_enough` to the larger
    of mean and largest replica; then EPLB's global map where that is better and free of
    duplicates. Complexity of a layer: O(replicas · ranks) and a few swaps of O(slots ·
    replicas).

    Parameters
    ----------
    load, single
        (layers, experts) loads, and the same in float32, in which EPLB calculates.
    order
        (layers, experts) experts by falling load, equal loads by number.
    close_enough
        Relative distance from the bound at which a layer is left.
    table
        (layers, ranks, slots) overwritten.
    """
    layers, experts = load.shape
    ranks, slots = table.shape[1], table.shape[2]
    worst = np.empty(layers)
    count = np.empty(experts, np.int64)
    share = np.empty(experts)
    share_32 = np.empty(experts, np.float32)
    replica = np.empty(ranks * slots, np.int64)
    other = np.empty((ranks, slots), np.int32)
    for layer in range(layers):
        total = 0.0
        for e in range(experts):
            total += load[layer, e]
        _replicate(load[layer], order[layer], ranks * slots, ranks, count, share)
        _merge(share, order[layer], count, replica)
        largest = share[replica[0]]
        if not _pack(share, replica, table[layer], True):
            pack_layer(share, count, order[layer].copy(), table[layer])
        target = max(total / ranks, largest) * (1.0 + close_enough)
        worst[layer] = balance_layer(share, table[layer], target)
        _replicate(single[layer], order[layer], ranks * slots, ranks * slots, count, share_32)
        _merge(share_32, order[layer], count, replica)
        _pack(share_32, replica, other, False)
        found = fullest(load[layer], other)
        if found < worst[layer]:
            worst[layer] = found
            table[layer] = other
    return worst


@njit(cache=True, nogil=True)
def _replicate(load, order, replicas, most, count, share) -> None:  # type: ignore[no-untyped-def]
    """Give one more replica, each time, to the expert with the most load on each of its own.

    Of n further replicas, only the first n experts of `order` can get any. Among equals the
    first by number, at most `most` for one expert.
    """
    for e in range(load.size):
        count[e] = 1
        share[e] = load[e]
    further = replicas - load.size
    candidates = min(load.size, further + 1)
    for _ in range(further):
        chosen = -1
        for i in range(candidates):
            e = order[i]
            if count[e] >= most:
                continue
            if chosen < 0 or share[e] > share[chosen] or (share[e] == share[chosen] and e < chosen):
                chosen = e
            if count[e] == 1 and share[e] < share[chosen]:
                break  # the rest is smaller still
        if chosen < 0:  # all of these are everywhere
            for e in range(load.size):
                if count[e] < most and (chosen < 0 or share[e] > share[chosen]):
                    chosen = e
        count[chosen] += 1
        share[chosen] = load[chosen] / load.dtype.type(count[chosen])


@njit(cache=True, nogil=True)
def _merge(share, order, count, replica) -> None:  # type: ignore[no-untyped-def]
    """Write the experts of all replicas by falling share into `replica`, copies side by side."""
    copied = np.empty(order.size, np.int64)
    number = 0
    for i in range(order.size):  # experts with several replicas, sorted by share
        e = order[i]
        if count[e] == 1:
            continue
        j = number
        while j > 0 and share[copied[j - 1]] < share[e]:
            copied[j] = copied[j - 1]
            j -= 1
        copied[j] = e
        number += 1
    single, several, place = 0, 0, 0
    while place < replica.size:
        while single < order.size and count[order[single]] > 1:
            single += 1
        if several == number or (
            single < order.size and share[order[single]] >= share[copied[several]]
        ):
            replica[place] = order[single]
            single += 1
            place += 1
        else:
            for _ in range(count[copied[several]]):
                replica[place] = copied[several]
                place += 1
            several += 1


@njit(cache=True, nogil=True)
def _pack(share, replica, table, apart) -> bool:  # type: ignore[no-untyped-def]
    """Put replicas, in order, on the lightest rank with room, equals on the first.

    With `apart` the copies of an expert go to different ranks; False if there are too few.
    """
    ranks, slots = table.shape
    load = np.zeros(ranks, share.dtype)
    open_load = np.zeros(ranks, share.dtype)  # infinite where nothing may go just now
    used = np.zeros(ranks, np.int64)
    taken = np.empty(ranks, np.int64)
    place = 0
    while place < replica.size:
        e = replica[place]
        run = 1
        if apart:
            while place + run < replica.size and replica[place + run] == e:
                run += 1
        for i in range(run):
            rank = 0
            least = open_load[0]
            for other in range(1, ranks):
                if open_load[other] < least:
                    least = open_load[other]
                    rank = other
            if least == np.inf:
                return False
            table[rank, used[rank]] = e
            used[rank] += 1
            load[rank] += share[e]
            open_load[rank] = np.inf
            taken[i] = rank
        for i in range(run):
            if used[taken[i]] < slots:
                open_load[taken[i]] = load[taken[i]]
        place += run
    return True
