"""Compiled searches for the contents of one part: which experts touch few tokens for their price.

All costs are whole numbers, so that a search undoes what it did without rounding.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numba import njit

if TYPE_CHECKING:
    from numpy.typing import NDArray

NEVER = 1 << 60
PROBE = 40_000  # steps of a search before its length is guessed
HARD_FIRST = 6  # how much too long the guess may be: the hardest experts come first
ROUNDING = 1e-12
KINDS = 2  # of estimates of what a token is touched


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
def _smallest(value: NDArray[Any], n: int, count: int, kept: NDArray[Any]) -> Any:
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
    return kept[:held].sum()


@njit(cache=True, nogil=True)
def _strongest(
    common: NDArray[np.int64],
    n: int,
    count: int,
    kept: NDArray[np.int64],
    most: NDArray[np.int64],
    fewer: NDArray[np.int64],
) -> None:
    """Write for each candidate what its `count` strongest partners share with it, and one less."""
    for a in range(n):
        held, least = 0, 0
        for b in range(n):
            share = common[a, b]
            if share <= least or b == a:
                continue
            if held < count:
                held += 1
            at = held - 1
            while at > 0 and kept[at - 1] < share:
                kept[at] = kept[at - 1]
                at -= 1
            kept[at] = share
            if held == count:
                least = kept[count - 1]
        most[a] = 0
        for i in range(held):
            most[a] += kept[i]
        fewer[a] = most[a] - kept[count - 1] if held == count else most[a]


@njit(cache=True, nogil=True)
def _rule_out(
    left: int,
    base: int,
    below: int,
    n: int,
    cost: NDArray[np.int64],
    paid: NDArray[np.int64],
    shared: NDArray[np.int64],
    open_: NDArray[np.bool_],
    row: NDArray[np.int64],
    kept: NDArray[np.int64],
) -> int:
    """Close candidates that no set of `left` of them can use to come below; return those open.

    A token that such a set uses q times is touched once, which is at least
    2q/(k + 1) − q(q − 1)/(k(k + 1)) for every k (Dawson & Sankoff, Proc. Amer. Math. Soc. 18,
    1967); all numbers are multiplied by k(k + 1).
    """
    open_[:n] = True
    stay = n
    for k in range(1, KINDS + 1):
        scale = k * (k + 1)
        for a in range(n):
            row[a] = 2 * k * cost[a] - k * (k - 1) * paid[a] - shared[a]
        total = scale * base + _smallest(row, n, left, kept)
        if n < left or total >= scale * below:
            return 0
        last = kept[left - 1]
        for a in range(n):
            if open_[a] and row[a] > last and total + row[a] - last >= scale * below:
                open_[a] = False
                stay -= 1
    return stay


@njit(cache=True, nogil=True)
def _seat(
    order: NDArray[np.int64],
    n: int,
    before: int,
    table: NDArray[np.int64],
    common: NDArray[np.int64],
) -> None:
    """Put n of the candidates of a level, order[0], order[1], ..., in places 0, 1, ..."""
    for i in range(table.shape[0]):
        table[i, :n] = table[i][order[:n]]
    pairs = common[:before, :before].copy()
    for a in range(n):
        for b in range(n):
            common[a, b] = pairs[order[a], order[b]]


@njit(cache=True, nogil=True)
def _take(
    expert: int,
    start: NDArray[np.int64],
    token_of: NDArray[np.int64],
    ids: NDArray[np.int32],
    weight: NDArray[np.int64],
    hit: NDArray[np.int8],
    place: NDArray[np.int64],
    cost: NDArray[np.int64],
    common: NDArray[np.int64],
) -> None:
    """Put an expert into the part: its tokens, if new, no longer count for the candidates."""
    seats, m = np.zeros(ids.shape[1], np.int64), 0
    for at in range(start[expert], start[expert + 1]):
        token = token_of[at]
        hit[token] += 1
        if hit[token] > 1:
            continue
        m = 0
        for i in range(ids.shape[1]):
            if ids[token, i] < 0:
                break
            a = place[ids[token, i]]
            if a < 0:
                continue
            cost[a] -= weight[token]
            for j in range(m):
                common[a, seats[j]] -= weight[token]
                common[seats[j], a] -= weight[token]
            seats[m] = a
            m += 1


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
    tokens that P does not touch, less half of what its r − 1 strongest partners share of it, or
    what `_rule_out` makes of these numbers. A step with n candidates costs
    O(n² + tokens of an expert · top_k); memory is `size` tables of (experts, experts).

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
    table = np.zeros((size, 5, experts), np.int64)
    common = np.zeros((size, experts, experts), np.int64)
    table[0, 0], table[0, 1], table[0, 2], common[0] = np.arange(experts), lone - price, price, pair
    order, row, kept, now, paid_then, shared_then = np.zeros((6, experts), np.int64)
    open_, place = np.zeros(experts, np.bool_), np.full(experts, -1)
    hit = np.zeros(ids.shape[0], np.int8)
    chosen, number, value = np.zeros((3, size + 1), np.int64)
    used, light = np.zeros(size + 1), np.zeros(size)
    number[0] = experts
    level, steps, fresh, turn = 0, 0, True, better.shape[0] - 1
    while True:
        left, n = size - level, number[level]
        among, cost, paid, most, fewer = table[level]
        if fresh:
            fresh = False
            steps += 1
            expected = steps * experts / max(1, experts - number[0])
            if steps > most_steps or (steps > PROBE and expected > HARD_FIRST * most_steps):
                return below, steps, False
            if left == 2:
                for a in range(n):
                    for b in range(a):
                        total = value[level] + cost[a] + cost[b] - common[level, a, b]
                        load = used[level] + use[among[a]] + use[among[b]]
                        if total < below and load <= 1.0:
                            below = total
                            better[turn, :level] = chosen[:level]
                            better[turn, level], better[turn, level + 1] = among[a], among[b]
                            turn = turn - 1 if turn > 0 else better.shape[0] - 1
                n = 0
            again = n > 0
            while again:
                _strongest(common[level], n, left - 1, kept, most, fewer)
                stay = _rule_out(left, value[level], below, n, cost, paid, most, open_, row, kept)
                again = left <= stay < n  # those left have fewer partners
                m = 0
                for a in range(n):
                    if open_[a]:
                        order[m] = a
                        m += 1
                if again:
                    _seat(order, stay, n, table[level], common[level])
                n = stay
            if n > 0:
                by = np.argsort(most[:n] - 2 * cost[:n])  # the last candidate comes first
                _seat(by, n, n, table[level], common[level])
            number[level] = n
        deeper = False
        while n >= left and not deeper:
            n -= 1
            one = among[n]
            then, m = value[level] + cost[n], 0
            lightest = _smallest(use[among[:n]], n, left - 2, light)  # of those still to come
            room = 1.0 - used[level] - use[one] - lightest * (1 - ROUNDING)
            for a in range(n):
                if use[among[a]] <= room:
                    order[m], now[m] = a, cost[a] - common[level, n, a]
                    paid_then[m], shared_then[m] = paid[a], fewer[a]
                    m += 1
            stay = _rule_out(
                left - 1, then, below, m, now, paid_then, shared_then, open_, row, kept
            )
            deeper = stay >= left - 1
        if deeper:
            number[level], chosen[level] = n, one
            value[level + 1], used[level + 1] = then, used[level] + use[one]
            stay = 0
            for i in range(m):
                if open_[i]:
                    order[stay] = order[i]
                    stay += 1
            number[level + 1] = stay
            for i in range(stay):
                a = order[i]
                table[level + 1, :3, i] = table[level, :3, a]
                place[among[a]] = i
                for j in range(stay):
                    common[level + 1, i, j] = common[level, a, order[j]]
            level += 1
            _take(one, start, token_of, ids, weight, hit, place, table[level, 1], common[level])
            for i in range(stay):
                place[table[level, 0, i]] = -1
            fresh = True
        elif level == 0:
            return below, steps, True
        else:
            level -= 1
            for at in range(start[chosen[level]], start[chosen[level] + 1]):
                hit[token_of[at]] -= 1


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
