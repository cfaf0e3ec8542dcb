"""Compiled pieces of the search for few copies: one token's ranks as bits of a word.

Up to 64 ranks; rank r is bit r of an int64. `ones` are the ranks of a token's experts with a
single replica. Amounts that dispatch ``cover`` is free to split are kept by set of ranks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numba import njit

from moeplace.placement.cover_kernels import even_out

if TYPE_CHECKING:
    from numpy.typing import NDArray

BIT_PLACE = np.zeros(64, np.int64)
DE_BRUIJN = 0x03F79D71B4CB0A89  # a cycle that contains every 6-bit word once
for _place in range(64):
    BIT_PLACE[((DE_BRUIJN << _place) % 2**64) >> 58] = _place


@njit(cache=True, nogil=True)
def lowest(bits: int) -> int:
    """Return the number of the lowest bit that is set."""
    return BIT_PLACE[(((bits & -bits) * DE_BRUIJN) >> 58) & 63]


@njit(cache=True, nogil=True)
def cost_of(bits: int, byte_cost: NDArray[np.float64]) -> float:
    """Return the sum of the costs of the ranks in `bits`.

    Parameters
    ----------
    byte_cost
        (bytes, 256) cost of each pattern of 8 ranks.
    """
    total = 0.0
    for i in range(byte_cost.shape[0]):
        total += byte_cost[i, (bits >> (8 * i)) & 255]
    return total


@njit(cache=True, nogil=True)
def most_gain(left: NDArray[np.int64], count: int, order: int, ranks: int) -> tuple[int, int, int]:
    """Return most of the sets `left` that one rank is in, the ranks that are, and the pick."""
    most, best, pick = 0, 0, -1
    for step in range(ranks):
        r = (order + step) % ranks
        gain = 0
        for i in range(count):
            gain += (left[i] >> r) & 1
        if gain > most:
            most, best, pick = gain, 0, r
        if gain == most and gain > 0:
            best |= np.int64(1) << r
    return most, best, pick


@njit(cache=True, nogil=True)
def even_cost(
    row: NDArray[np.int32],
    mask: NDArray[np.int64],
    copies: NDArray[np.int64],
    ones: int,
    byte_cost: NDArray[np.float64],
    left: NDArray[np.int64],
    missed: NDArray[np.float64],
) -> float:
    """Return the expected cost of the ranks a token touches besides `ones`, under ``even``.

    Parameters
    ----------
    row
        (top_k,) experts, −1 pads.
    mask, copies
        (experts,) ranks that hold the expert, and how many.
    left, missed
        Scratch of at least top_k entries.
    """
    count = 0
    union = np.int64(0)
    for k in range(row.size):
        e = row[k]
        if e >= 0 and copies[e] > 1:
            left[count] = mask[e]
            missed[count] = 1.0 - 1.0 / copies[e]
            union |= mask[e]
            count += 1
    union &= ~ones
    total = 0.0
    while union != 0:
        bit = union & -union
        union ^= bit
        chance = 1.0
        for i in range(count):
            if left[i] & bit:
                chance *= missed[i]
        total += (1.0 - chance) * cost_of(bit, byte_cost)
    return total


@njit(cache=True, nogil=True)
def cover_cost(
    row: NDArray[np.int32],
    mask: NDArray[np.int64],
    ones: int,
    ranks: int,
    byte_cost: NDArray[np.float64],
    left: NDArray[np.int64],
) -> float:
    """Return the cost of the ranks a token touches besides `ones`, under ``cover``.

    The last rank, where there is a choice, costs the mean of those it may be. Parameters as for
    :func:`even_cost`.
    """
    count = 0
    common = np.int64(-1)
    for k in range(row.size):
        e = row[k]
        if e >= 0 and mask[e] & ones == 0:
            left[count] = mask[e]
            common &= mask[e]
            count += 1
    if count == 0:
        return 0.0
    total = 0.0
    if common == 0:
        order = 0
        for k in range(row.size):
            order += max(row[k], 0)
        while common == 0:
            _, _, pick = most_gain(left, count, order % ranks, ranks)
            total += cost_of(np.int64(1) << pick, byte_cost)
            kept = 0
            common = np.int64(-1)
            for i in range(count):
                if not (left[i] >> pick) & 1:
                    left[kept] = left[i]
                    common &= left[i]
                    kept += 1
            count = kept
            if count == 0:
                return total
    number = 0
    rest = common
    while rest != 0:
        rest &= rest - 1
        number += 1
    return total + cost_of(common, byte_cost) / number


@njit(cache=True, nogil=True)
def find_choice(
    bits: int,
    keys: NDArray[np.int64],
    key_at: NDArray[np.int64],
    choice_start: NDArray[np.int64],
    choice_rank: NDArray[np.int64],
    share: NDArray[np.float64],
    used: NDArray[np.int64],
) -> int:
    """Return the number of a set of ranks, entered with an equal split if new; −1 if full."""
    place = ((bits * DE_BRUIJN) >> 40) & (keys.size - 1)
    while key_at[place] >= 0:
        if keys[place] == bits:
            return key_at[place]
        place = (place + 1) & (keys.size - 1)
    v = used[0]
    if 2 * (v + 1) > keys.size or choice_start[v] + 64 > choice_rank.size:
        return -1
    keys[place] = bits
    key_at[place] = v
    used[0] += 1
    at = choice_start[v]
    rest = bits
    while rest != 0:
        choice_rank[at] = lowest(rest)
        rest &= rest - 1
        at += 1
    choice_start[v + 1] = at
    for i in range(choice_start[v], at):
        share[i] = 1.0 / (at - choice_start[v])
    return v


@njit(cache=True, nogil=True)
def pour(
    bits: int,
    pairs: float,
    base: NDArray[np.float64],
    amount: NDArray[np.float64],
    keys: NDArray[np.int64],
    key_at: NDArray[np.int64],
    choice_start: NDArray[np.int64],
    choice_rank: NDArray[np.int64],
    share: NDArray[np.float64],
    used: NDArray[np.int64],
) -> None:
    """Add pairs that any of the ranks in `bits` may serve."""
    if bits & (bits - 1) == 0:
        base[lowest(bits)] += pairs
        return
    v = find_choice(bits, keys, key_at, choice_start, choice_rank, share, used)
    if v >= 0:
        amount[v] += pairs
        return
    number = 0
    rest = bits
    while rest != 0:
        rest &= rest - 1
        number += 1
    while bits != 0:
        base[lowest(bits)] += pairs / number
        bits &= bits - 1


@njit(cache=True, nogil=True)
def cover_loads(
    row: NDArray[np.int32],
    mask: NDArray[np.int64],
    copies: NDArray[np.int64],
    ones: int,
    ranks: int,
    weight: float,
    base: NDArray[np.float64],
    amount: NDArray[np.float64],
    keys: NDArray[np.int64],
    key_at: NDArray[np.int64],
    choice_start: NDArray[np.int64],
    choice_rank: NDArray[np.int64],
    share: NDArray[np.float64],
    used: NDArray[np.int64],
    left: NDArray[np.int64],
) -> None:
    """Add what a token's experts with several replicas bring to the ranks (negative: take away)."""
    count = 0
    order = 0
    for k in range(row.size):
        e = row[k]
        if e < 0:
            continue
        order += e
        if copies[e] > 1:
            here = mask[e] & ones
            if here != 0:
                pour(here, weight, base, amount, keys, key_at, choice_start, choice_rank,
                     share, used)  # fmt: skip
            else:
                left[count] = mask[e]
                count += 1
    while count > 0:
        most, best, pick = most_gain(left, count, order % ranks, ranks)
        if most == count:
            pour(best, weight * most, base, amount, keys, key_at, choice_start, choice_rank,
                 share, used)  # fmt: skip
            return
        base[pick] += weight * most
        kept = 0
        for i in range(count):
            if not (left[i] >> pick) & 1:
                left[kept] = left[i]
                kept += 1
        count = kept


@njit(cache=True, nogil=True)
def excess(
    base: NDArray[np.float64],
    amount: NDArray[np.float64],
    choice_start: NDArray[np.int64],
    choice_rank: NDArray[np.int64],
    share: NDArray[np.float64],
    used: int,
    most_load: float,
    sweeps: int,
) -> float:
    """Return how much the rank loads lie above `most_load` in all, after evening them out."""
    over = 0.0
    for r in range(base.size):
        over += max(base[r] - most_load, 0.0)
    if used == 0:
        return over
    load = even_out(base, choice_start[: used + 1], choice_rank, amount[:used], share, sweeps, 1e-9)
    over = 0.0
    for r in range(load.size):
        over += max(load[r] - most_load, 0.0)
    return over
