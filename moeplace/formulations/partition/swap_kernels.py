"""Compiled annealing and descent by swaps and moves, on λ with a price on load above a cap.

Every slot of every rank is a place: a swap with an empty one is a move.
"""
# mypy: disallow-untyped-decorators=False

from __future__ import annotations

from math import log
from typing import TYPE_CHECKING

import numpy as np
from numba import njit

from moeplace.formulations.partition.kernels import move, shared

if TYPE_CHECKING:
    from numpy.typing import NDArray

HOPELESS = 25.0  # exp(−25): what lies this many temperatures uphill is refused undrawn
BLOCK = 256  # proposals at one temperature


@njit(cache=True, nogil=True)
def search_swaps(
    net_start: NDArray[np.int64],
    pin: NDArray[np.int32],
    net_weight: NDArray[np.int64],
    vertex_start: NDArray[np.int64],
    net: NDArray[np.int32],
    load: NDArray[np.int64],
    part: NDArray[np.int32],
    count: NDArray[np.uint16],
    enter: NDArray[np.int64],
    leave: NDArray[np.int64],
    table: NDArray[np.int32],
    slot_of: NDArray[np.int32],
    rank_of_slot: NDArray[np.int32],
    rank_load: NDArray[np.int64],
    cap: NDArray[np.int64],
    price: float,
    figures: NDArray[np.int64],
    best: NDArray[np.int32],
    random: NDArray[np.uint64],
    hot: float,
    cold: float,
    begin: int,
    proposals: int,
) -> None:
    """Propose swaps: at random while it cools from `hot` to `cold`, or all in turn if `hot` is 0.

    In turn, only what helps is taken.

    Parameters
    ----------
    net_start, pin, net_weight, vertex_start, net, load
        See :class:`~moeplace.formulations.partition.hypergraph.Hypergraph`.
    part, count, enter, leave
        See :func:`~moeplace.formulations.partition.kernels.count_ranks`.
    table, slot_of, rank_of_slot
        (slots,) vertex in each slot, −1 empty; its inverse; where the slots are.
    rank_load, cap, price
        (ranks,) load; what a rank may carry; Σ w · λ that a unit above it counts as.
    figures
        Σ w · λ, load above the caps, best Σ w · λ without any, swaps made; updated.
    best
        (vertices,) the partition of the third figure; updated.
    random
        (1,) state of the generator, not 0; updated.
    begin
        Number of the first swap of all that is proposed in turn.
    """
    vertices, slots = part.size, table.size
    descent = hot <= 0.0
    ratio = 1.0 if descent else (cold / hot) ** (BLOCK / max(BLOCK, proposals))
    temperature = hot
    fresh = figures[1] == 0 and figures[0] < figures[2]
    for i in range(begin, begin + proposals):
        if descent:
            e, s = (i // slots) % vertices, i % slots
        else:
            if i % BLOCK == BLOCK - 1:
                temperature *= ratio
            e, s = int(_draw(random) * vertices), int(_draw(random) * slots)
        a, b = np.int64(part[e]), np.int64(rank_of_slot[s])
        if a == b:
            continue
        f = np.int64(table[s])
        change = enter[e, b] - leave[e]
        shift = load[e]
        if f >= 0:
            change += enter[f, a] - leave[f]
            shift -= load[f]
        over = max(0, rank_load[a] - shift - cap[a]) + max(0, rank_load[b] + shift - cap[b])
        over -= max(0, rank_load[a] - cap[a]) + max(0, rank_load[b] - cap[b])
        total = change + price * over
        if total >= 0.0 and (descent or total > HOPELESS * temperature):
            continue
        threshold = 0.0
        if total > 0.0:
            threshold = -temperature * log(1.0 - _draw(random))
            if total > threshold:
                continue
        if f >= 0:
            more = shared(e, f, net_start, pin, net_weight, vertex_start, net, part, count)
            if more > 0:
                change += more
                total += more
                if threshold == 0.0 and total > 0.0 and not descent:
                    threshold = -temperature * log(1.0 - _draw(random))
                if total > threshold or (descent and total >= 0.0):
                    continue
        if fresh and total > 0.0:
            for v in range(vertices):
                best[v] = part[v]
            figures[2] = figures[0]
        old = slot_of[e]
        move(e, b, net_start, pin, net_weight, vertex_start, net, part, count, enter, leave)
        if f >= 0:
            move(f, a, net_start, pin, net_weight, vertex_start, net, part, count, enter, leave)
            slot_of[f] = old
        rank_load[a] -= shift
        rank_load[b] += shift
        table[old] = f
        table[s] = e
        slot_of[e] = s
        figures[0] += change
        figures[1] += over
        figures[3] += 1
        fresh = figures[1] == 0 and figures[0] < figures[2]
    if fresh:
        for v in range(vertices):
            best[v] = part[v]
        figures[2] = figures[0]


@njit(cache=True, nogil=True)
def _draw(random: NDArray[np.uint64]) -> float:
    """Return the next number in [0, 1) of a xorshift64* generator."""
    x = random[0]
    x ^= x >> np.uint64(12)
    x ^= x << np.uint64(25)
    x ^= x >> np.uint64(27)
    random[0] = x
    return float((x * np.uint64(2685821657736338717)) >> np.uint64(11)) * (0.5**53)
