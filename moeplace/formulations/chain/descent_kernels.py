"""Compiled exchange of experts in one layer whose neighbors are fixed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numba import njit

if TYPE_CHECKING:
    from numpy.typing import NDArray


@njit(cache=True, nogil=True)
def exchange_layer(
    table: NDArray[np.int32],
    ids: NDArray[np.int32],
    weight: NDArray[np.float64],
    source: NDArray[np.int64],
    start: NDArray[np.int64],
    rows: NDArray[np.int64],
    price: NDArray[np.float64],
    after: NDArray[np.float64],
    load: NDArray[np.float64],
    spread: float,
    most_load: float,
    merged: bool,
    orders: NDArray[np.int64],
) -> float:
    """Exchange experts, or move them to empty slots, while the cost falls; return the total gain.

    The cost of a layer without replicas is the price of every rank a token touches (of every
    expert, unless merged), plus what the next layer pays for where an anchor is, plus `spread` ×
    the sum of squared rank loads. Complexity of a pass: O(slots² + slots · Σ tokens of experts).

    Parameters
    ----------
    table
        (ranks, slots) experts, −1 empty; changed in place.
    ids, weight, source
        (tokens, top_k), (tokens,) and (tokens,): expert sets, how often, and the row of `price`.
    start, rows
        Compressed rows: tokens of each expert.
    price
        (sources, ranks) of a copy from there to a rank.
    after
        (experts, ranks) what the next layer pays if the expert is there.
    load
        (experts,) share of the load.
    spread
        Price of a squared rank load.
    most_load
        A rank above this load may not be made fuller.
    merged
        Whether a rank gets one copy of a token.
    orders
        (passes, slots) in which slots are tried.
    """
    ranks, slots = table.shape
    experts = load.size
    touched = np.zeros((ids.shape[0], ranks), np.int16)
    rank_of = np.zeros(experts, np.int64)
    rank_load = np.zeros(ranks)
    for r in range(ranks):
        for s in range(slots):
            e = table[r, s]
            if e >= 0:
                rank_of[e] = r
                rank_load[r] += load[e]
    linear = np.zeros((experts, ranks))
    for t in range(ids.shape[0]):
        for k in range(ids.shape[1]):
            e = ids[t, k]
            if e >= 0:
                touched[t, rank_of[e]] += 1
                for r in range(ranks):
                    linear[e, r] += weight[t] * price[source[t], r]
    stamp = np.full(ids.shape[0], -1, np.int64)
    mark = 0
    total = 0.0
    for turn in range(orders.shape[0]):
        gained = 0.0
        for x in range(orders.shape[1]):
            i = orders[turn, x]
            a, sa = i // slots, i % slots
            for y in range(x + 1, orders.shape[1]):
                j = orders[turn, y]
                b, sb = j // slots, j % slots
                e, f = table[a, sa], table[b, sb]
                if a == b or (e < 0 and f < 0):
                    continue
                shift = 0.0  # of load, from a to b
                if e >= 0:
                    shift += load[e]
                if f >= 0:
                    shift -= load[f]
                if shift > 0.0 and rank_load[b] + shift > most_load:
                    continue
                if shift < 0.0 and rank_load[a] - shift > most_load:
                    continue
                delta = spread * 2.0 * shift * (rank_load[b] - rank_load[a] + shift)
                if e >= 0:
                    delta += after[e, b] - after[e, a]
                if f >= 0:
                    delta += after[f, a] - after[f, b]
                if not merged:
                    if e >= 0:
                        delta += linear[e, b] - linear[e, a]
                    if f >= 0:
                        delta += linear[f, a] - linear[f, b]
                else:
                    mark += 1
                    if e >= 0 and f >= 0:
                        for p in range(start[f], start[f + 1]):
                            stamp[rows[p]] = mark
                    if e >= 0:
                        for p in range(start[e], start[e + 1]):
                            t = rows[p]
                            if stamp[t] == mark:
                                stamp[t] = -1  # holds both: touches the same ranks
                                continue
                            if touched[t, a] == 1:
                                delta -= weight[t] * price[source[t], a]
                            if touched[t, b] == 0:
                                delta += weight[t] * price[source[t], b]
                    if f >= 0:
                        for p in range(start[f], start[f + 1]):
                            t = rows[p]
                            if e >= 0 and stamp[t] != mark:
                                continue
                            if touched[t, b] == 1:
                                delta -= weight[t] * price[source[t], b]
                            if touched[t, a] == 0:
                                delta += weight[t] * price[source[t], a]
                if delta < -1e-13:
                    gained -= delta
                    table[a, sa], table[b, sb] = f, e
                    rank_load[a] -= shift
                    rank_load[b] += shift
                    if e >= 0:
                        for p in range(start[e], start[e + 1]):
                            touched[rows[p], a] -= 1
                            touched[rows[p], b] += 1
                    if f >= 0:
                        for p in range(start[f], start[f + 1]):
                            touched[rows[p], b] -= 1
                            touched[rows[p], a] += 1
        total += gained
        if gained <= 0.0:
            break
    return total
