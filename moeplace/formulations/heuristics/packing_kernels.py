# mypy: disallow-untyped-decorators=False
"""Compiled inner loops that put replicas on ranks.

A layer's state is `table` (ranks, slots) with −1 for empty slots, `used` (ranks,) occupied slots,
`rank_load` (ranks,), and `holds` (ranks, experts). Occupied slots come first on a rank.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numba import njit

if TYPE_CHECKING:
    from numpy.typing import NDArray

GAIN = 1e-12  # relative improvement below which a step counts as rounding error
MAX_SLOTS_FOR_PAIRS = 24  # 2-2 swaps of fuller ranks cost more than they bring


@njit(cache=True, nogil=True)
def pack_layer(
    share: NDArray[np.float64],
    count: NDArray[np.int64],
    order: NDArray[np.int64],
    table: NDArray[np.int32],
) -> None:
    """Place every replica, largest first, on the lightest rank with room that lacks its expert.

    Where all ranks with room hold the expert already, another one is moved there from a full
    rank (see `_make_room`); this always succeeds if ``count ≤ ranks`` and all replicas fit.
    Complexity: O(replicas · ranks).

    Parameters
    ----------
    share
        (experts,) load of one replica of each expert.
    count
        (experts,) replicas of each expert, 1..ranks.
    order
        (experts,) a permutation of the experts; sorted here by falling share, fast if it nearly is.
    table
        (ranks, slots) overwritten: experts, −1 for empty slots.
    """
    num_ranks, slots = table.shape
    used = np.zeros(num_ranks, np.int64)
    rank_load = np.zeros(num_ranks)
    holds = np.zeros((num_ranks, share.size), np.bool_)
    for rank in range(num_ranks):
        for slot in range(slots):
            table[rank, slot] = -1
    for i in range(1, order.size):
        expert = order[i]
        j = i
        while j > 0 and share[order[j - 1]] < share[expert]:
            order[j] = order[j - 1]
            j -= 1
        order[j] = expert
    for i in range(order.size):
        expert = order[i]
        for _ in range(count[expert]):
            target = -1
            for rank in range(num_ranks):
                if used[rank] == slots or holds[rank, expert]:
                    continue
                if target < 0 or rank_load[rank] < rank_load[target]:
                    target = rank
            if target < 0:
                target = _make_room(expert, share, table, used, rank_load, holds)
            table[target, used[target]] = expert
            used[target] += 1
            rank_load[target] += share[expert]
            holds[target, expert] = True


@njit(cache=True, nogil=True)
def _make_room(
    expert: int,
    share: NDArray[np.float64],
    table: NDArray[np.int32],
    used: NDArray[np.int64],
    rank_load: NDArray[np.float64],
    holds: NDArray[np.bool_],
) -> int:
    """Free a slot on a rank that lacks `expert` and return the rank.

    Only full ranks lack it, and every rank with room holds fewer experts than a full one, so some
    expert of the full rank is not on the rank with room and can move there.
    """
    best_from, best_slot, best_to, best_load = -1, -1, -1, np.inf
    for full in range(rank_load.size):
        if holds[full, expert]:
            continue
        for slot in range(used[full]):
            other = table[full, slot]
            for roomy in range(rank_load.size):
                if used[roomy] == table.shape[1] or holds[roomy, other]:
                    continue
                load = max(
                    rank_load[full] - share[other] + share[expert],
                    rank_load[roomy] + share[other],
                )
                if load < best_load:
                    best_from, best_slot, best_to, best_load = full, slot, roomy, load
    _move(best_from, best_slot, best_to, share, table, used, rank_load, holds)
    return best_from


@njit(cache=True, nogil=True)
def _move(
    source: int,
    slot: int,
    target: int,
    share: NDArray[np.float64],
    table: NDArray[np.int32],
    used: NDArray[np.int64],
    rank_load: NDArray[np.float64],
    holds: NDArray[np.bool_],
) -> None:
    expert = table[source, slot]
    used[source] -= 1
    table[source, slot] = table[source, used[source]]
    table[source, used[source]] = -1
    table[target, used[target]] = expert
    used[target] += 1
    rank_load[source] -= share[expert]
    rank_load[target] += share[expert]
    holds[source, expert] = False
    holds[target, expert] = True


@njit(cache=True, nogil=True)
def balance_layer(share: NDArray[np.float64], table: NDArray[np.int32], target: float) -> float:
    """Lower the largest rank load by moves and swaps, in place; return it.

    Each step takes an expert off the fullest rank, alone or against a lighter one, such that
    the larger of the two ranks' loads falls most; where that fails, two experts against two.
    Never puts an expert twice on a rank. Stops when no step helps the fullest rank or its load is
    at most `target`. A step costs O(ranks · slots²), rarely O(ranks · slots⁴).

    Parameters
    ----------
    share
        (experts,) load of one replica of each expert.
    table
        (ranks, slots) experts, empty slots (−1) last on each rank; changed.
    target
        Load that is good enough, for example a lower bound.
    """
    num_ranks, slots = table.shape
    used = np.zeros(num_ranks, np.int64)
    rank_load = np.zeros(num_ranks)
    holds = np.zeros((num_ranks, share.size), np.bool_)
    for rank in range(num_ranks):
        for slot in range(slots):
            expert = table[rank, slot]
            if expert >= 0:
                used[rank] += 1
                rank_load[rank] += share[expert]
                holds[rank, expert] = True
    while True:
        full = 0
        for rank in range(1, num_ranks):
            if rank_load[rank] > rank_load[full]:
                full = rank
        largest: float = rank_load[full]
        if largest <= target:
            return largest
        if _single(full, share, table, used, rank_load, holds):
            continue
        if slots > MAX_SLOTS_FOR_PAIRS or not _pairs(full, share, table, used, rank_load, holds):
            return largest


@njit(cache=True, nogil=True)
def _single(
    full: int,
    share: NDArray[np.float64],
    table: NDArray[np.int32],
    used: NDArray[np.int64],
    rank_load: NDArray[np.float64],
    holds: NDArray[np.bool_],
) -> bool:
    """Make the best move or 1-1 swap that helps rank `full`; return whether there was one."""
    load = rank_load[full]
    best_slot, best_rank, best_other = -1, -1, -1
    best = load * (1.0 - GAIN)
    lightest = _lightest(rank_load)
    for turn in range(-1, rank_load.size):  # the lightest first, it rules out most others
        rank = lightest if turn < 0 else turn
        if (load + rank_load[rank]) / 2 >= best:
            continue
        for slot in range(used[full]):
            expert = table[full, slot]
            if holds[rank, expert]:
                continue
            own = share[expert]
            if used[rank] < table.shape[1]:
                after = max(load - own, rank_load[rank] + own)
                if after < best:
                    best, best_slot, best_rank, best_other = after, slot, rank, -1
            for other in range(used[rank]):
                swapped = table[rank, other]
                shift = own - share[swapped]
                after = max(load - shift, rank_load[rank] + shift)
                if after < best and not holds[full, swapped]:
                    best, best_slot, best_rank, best_other = after, slot, rank, other
    if best_slot < 0:
        return False
    if best_other < 0:
        _move(full, best_slot, best_rank, share, table, used, rank_load, holds)
    else:
        _swap(full, best_slot, best_rank, best_other, share, table, rank_load, holds)
    return True


@njit(cache=True, nogil=True)
def _pairs(
    full: int,
    share: NDArray[np.float64],
    table: NDArray[np.int32],
    used: NDArray[np.int64],
    rank_load: NDArray[np.float64],
    holds: NDArray[np.bool_],
) -> bool:
    """Make the best 2-2 swap that helps rank `full`; return whether there was one."""
    load = rank_load[full]
    best = load * (1.0 - GAIN)
    best_rank = -1
    i, j, k, m = 0, 0, 0, 0
    lightest = _lightest(rank_load)
    for turn in range(-1, rank_load.size):  # the lightest first, it rules out most others
        rank = lightest if turn < 0 else turn
        if (load + rank_load[rank]) / 2 >= best:
            continue
        for a in range(used[full]):
            if holds[rank, table[full, a]]:
                continue
            for b in range(a):
                if holds[rank, table[full, b]]:
                    continue
                own = share[table[full, a]] + share[table[full, b]]
                for c in range(used[rank]):
                    first = own - share[table[rank, c]]
                    for d in range(c):
                        shift = first - share[table[rank, d]]
                        after = max(load - shift, rank_load[rank] + shift)
                        if (
                            after < best
                            and not holds[full, table[rank, c]]
                            and not holds[full, table[rank, d]]
                        ):
                            best, best_rank, i, j, k, m = after, rank, a, b, c, d
    if best_rank < 0:
        return False
    _swap(full, i, best_rank, k, share, table, rank_load, holds)
    _swap(full, j, best_rank, m, share, table, rank_load, holds)
    return True


@njit(cache=True, nogil=True)
def _lightest(rank_load: NDArray[np.float64]) -> int:
    lightest = 0
    for rank in range(1, rank_load.size):
        if rank_load[rank] < rank_load[lightest]:
            lightest = rank
    return lightest


@njit(cache=True, nogil=True)
def _swap(
    one: int,
    slot: int,
    other: int,
    other_slot: int,
    share: NDArray[np.float64],
    table: NDArray[np.int32],
    rank_load: NDArray[np.float64],
    holds: NDArray[np.bool_],
) -> None:
    first, second = table[one, slot], table[other, other_slot]
    table[one, slot] = second
    table[other, other_slot] = first
    holds[one, first] = False
    holds[one, second] = True
    holds[other, first] = True
    holds[other, second] = False
    rank_load[one] += share[second] - share[first]
    rank_load[other] += share[first] - share[second]
