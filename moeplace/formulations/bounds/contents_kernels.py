"""Compiled searches for the contents of one part: which experts touch few tokens for their price.

All costs are whole numbers, so that a search undoes what it did without rounding.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numba import njit

if TYPE_CHECKING:
    from numpy.typing import NDArray

NEVER = 1 << 60
PROBE = 40_000  # steps of a search before its length is guessed


@njit(cache=True, nogil=True)
def shift(
    expert: int,
    sign: int,
    start: NDArray[np.int64],
    token_of: NDArray[np.int64],
    ids: NDArray[np.int32],
    weight: NDArray[np.int64],
    hit: NDArray[np.int8],
    lone: NDArray[np.int64],
    pair: NDArray[np.int64],
    pairs: bool,
) -> None:
    """Put an expert into the part (+1) or take it out (−1).

    `hit` counts the experts of each token in the part; `lone` and, with `pairs`, `pair` add up
    the weights of the tokens without any that use an expert, or two.
    """
    for at in range(start[expert], start[expert + 1]):
        token = token_of[at]
        if sign < 0:
            hit[token] -= 1
        if hit[token] == 0:
            change = sign * weight[token]
            for i in range(ids.shape[1]):
                one = ids[token, i]
                if one < 0:
                    break
                lone[one] -= change
                if pairs:
                    for j in range(i):
                        other = ids[token, j]
                        pair[one, other] -= change
                        pair[other, one] -= change
        if sign > 0:
            hit[token] += 1


@njit(cache=True, nogil=True)
def _smallest(value: NDArray[np.int64], n: int, count: int, kept: NDArray[np.int64]) -> int:
    """Return the sum of the `count` smallest of n values and write them in order to `kept`."""
    held = 0
    for a in range(n):
        at = held
        if held < count:
            held += 1
        elif count > 0 and value[a] < kept[count - 1]:
            at = count - 1
        else:
            continue
        while at > 0 and kept[at - 1] > value[a]:
            kept[at] = kept[at - 1]
            at -= 1
        kept[at] = value[a]
    total = 0
    for i in range(held):
        total += kept[i]
    return total


@njit(cache=True, nogil=True)
def _partners(
    among: NDArray[np.int64],
    n: int,
    count: int,
    pair: NDArray[np.int64],
    row: NDArray[np.int64],
    kept: NDArray[np.int64],
    most: NDArray[np.int64],
    fewer: NDArray[np.int64],
) -> None:
    """Write for each candidate what its `count` strongest partners share with it, and one less."""
    for a in range(n):
        m = 0
        for b in range(n):
            if b != a:
                row[m] = -pair[among[a], among[b]]
                m += 1
        most[a] = -_smallest(row, m, count, kept)
        fewer[a] = most[a]
        if count > 0 and m >= count:
            fewer[a] += kept[count - 1]


@njit(cache=True, nogil=True)
def least_contents(
    price: NDArray[np.int64],
    use: NDArray[np.float64],
    size: int,
    below: int,
    start: NDArray[np.int64],
    token_of: NDArray[np.int64],
    ids: NDArray[np.int32],
    weight: NDArray[np.int64],
    lone: NDArray[np.int64],
    pair: NDArray[np.int64],
    most_steps: int,
    better: NDArray[np.int64],
) -> tuple[int, int, bool]:
    """Return the least of `below` and touched − price over all sets of `size` experts.

    Branch and bound. With P chosen and r to come, each of them adds at least the weight of its
    tokens that P does not touch, less half of what its r − 1 strongest partners share of it.

    Parameters
    ----------
    price, use
        (experts,) prices, and shares of a cap of 1 that a set keeps.
    size, below
        Experts of a set, at least 2, and the largest value of interest.
    start, token_of, ids, weight
        Tokens of each expert, experts of each token with pads last, and weights.
    lone, pair
        (experts,) and (experts, experts) weight of the tokens that use an expert, or two.
    most_steps
        Steps after which to give up, or earlier if many more are to be expected.
    better
        (sets, size) takes each set that is better than those before, from its last row back to
        its first; a full table keeps the latest. Rows that are not used stay.

    Returns
    -------
    The least value, the steps made, and whether the search came to its end.
    """
    experts = price.size
    lone, pair = lone - price, pair.copy()
    hit = np.zeros(ids.shape[0], np.int8)
    among, half, fewer = np.zeros((3, size + 1, experts), np.int64)
    chosen, number, value = np.zeros((3, size + 1), np.int64)
    used = np.zeros(size + 1)
    row, kept = np.zeros(experts, np.int64), np.zeros(experts, np.int64)
    among[0], number[0] = np.arange(experts), experts
    level, steps, fresh, turn = 0, 0, True, better.shape[0] - 1
    while True:
        left, n = size - level, number[level]
        if fresh:
            fresh = False
            steps += 1
            expected = steps * experts / max(1, experts - number[0])
            if steps > most_steps or (steps > PROBE and expected > 2 * most_steps):
                return below, steps, False
            if left == 2:
                for a in range(n):
                    one = among[level, a]
                    for b in range(a):
                        other = among[level, b]
                        total = value[level] + lone[one] + lone[other] - pair[one, other]
                        if total < below and used[level] + use[one] + use[other] <= 1.0:
                            below = total
                            for i in range(level):
                                better[turn, i] = chosen[i]
                            better[turn, level], better[turn, level + 1] = one, other
                            turn = turn - 1 if turn > 0 else better.shape[0] - 1
                n = 0
            else:
                _partners(among[level], n, left - 1, pair, row, kept, half[level], fewer[level])
                for a in range(n):
                    half[level, a] = 2 * lone[among[level, a]] - half[level, a]
                total = 2 * value[level] + _smallest(half[level], n, left, kept)
                last, m = kept[left - 1], 0
                for a in range(n):
                    if total + max(0, half[level, a] - last) < 2 * below:
                        among[level, m], half[level, m] = among[level, a], half[level, a]
                        fewer[level, m] = fewer[level, a]
                        m += 1
                n = m
                order = np.argsort(-half[level, :n])  # the last candidate comes first
                for table in (among, half, fewer):
                    row[:n] = table[level, :n]
                    for a in range(n):
                        table[level, a] = row[order[a]]
            number[level] = n
        deeper = False
        while n >= left and not deeper:
            total = 2 * value[level]
            for a in range(n - left, n):
                total += half[level, a]
            if total >= 2 * below:
                break
            n -= 1
            one = among[level, n]
            then = value[level] + lone[one]
            for a in range(n):
                other = among[level, a]
                row[a] = 2 * (lone[other] - pair[one, other]) - fewer[level, a]
            total = 2 * then + _smallest(row, n, left - 1, kept)
            if total >= 2 * below:
                continue
            last, m = kept[left - 2], 0
            for a in range(n):
                other = among[level, a]
                fits = used[level] + use[one] + use[other] <= 1.0
                if fits and total + max(0, row[a] - last) < 2 * below:
                    among[level + 1, m] = other
                    m += 1
            deeper = m >= left - 1
            if deeper:
                number[level], chosen[level] = n, one
                number[level + 1], value[level + 1] = m, then
                used[level + 1] = used[level] + use[one]
        if deeper:
            shift(chosen[level], 1, start, token_of, ids, weight, hit, lone, pair, True)
            level += 1
            fresh = True
        elif level == 0:
            return below, steps, True
        else:
            level -= 1
            shift(chosen[level], -1, start, token_of, ids, weight, hit, lone, pair, True)


@njit(cache=True, nogil=True)
def climb(
    price: NDArray[np.int64],
    use: NDArray[np.float64],
    begin: NDArray[np.int64],
    noise: NDArray[np.int64],
    start: NDArray[np.int64],
    token_of: NDArray[np.int64],
    ids: NDArray[np.int32],
    weight: NDArray[np.int64],
    lone: NDArray[np.int64],
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Complete sets greedily, then exchange single experts while touched − price falls.

    Parameters
    ----------
    begin
        (sets, size) experts to begin with, −1 where one is to be chosen, these last.
    noise
        (sets, experts) added to the values that the greedy choice compares.

    Returns
    -------
    (sets, size) experts and (sets,) touched − price, NEVER where no set keeps the cap.
    """
    experts, size = price.size, begin.shape[1]
    hit = np.zeros(ids.shape[0], np.int8)
    found = begin.copy()
    value = np.full(begin.shape[0], NEVER)
    nothing = np.zeros((1, 1), np.int64)
    lightest = np.sort(use)
    for number in range(begin.shape[0]):
        hit[:] = 0
        left = lone - price
        inside = np.zeros(experts, np.bool_)
        used, total, n = 0.0, 0, 0
        while n < size:
            pick = found[number, n]
            if pick < 0:
                least = NEVER
                rest = lightest[: size - n - 1].sum()
                for one in range(experts):
                    here = left[one] + noise[number, one]
                    if not inside[one] and used + use[one] + rest <= 1.0 and here < least:
                        least, pick = here, one
            if pick < 0:
                break
            total += left[pick]
            shift(pick, 1, start, token_of, ids, weight, hit, left, nothing, False)
            inside[pick] = True
            used += use[pick]
            found[number, n] = pick
            n += 1
        if n < size:
            continue
        still, at = 0, 0
        while still < size:
            one = found[number, at]
            shift(one, -1, start, token_of, ids, weight, hit, left, nothing, False)
            inside[one] = False
            used -= use[one]
            total -= left[one]
            pick = one
            for other in range(experts):
                if not inside[other] and used + use[other] <= 1.0 and left[other] < left[pick]:
                    pick = other
            still = still + 1 if pick == one else 0
            total += left[pick]
            shift(pick, 1, start, token_of, ids, weight, hit, left, nothing, False)
            inside[pick] = True
            used += use[pick]
            found[number, at] = pick
            at = (at + 1) % size
        value[number] = total
    return found, value
