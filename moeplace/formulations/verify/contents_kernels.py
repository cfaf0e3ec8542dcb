"""Compiled check of prices on experts: every set of experts is looked at or ruled out by pairs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numba import njit

if TYPE_CHECKING:
    from numpy.typing import NDArray


@njit(cache=True, nogil=True)
def _lowest(value: NDArray[np.float64], count: int, without: int) -> float:
    """Return the sum of the `count` smallest values, one left out, infinite if there are fewer."""
    total = 0.0
    order = np.argsort(value)
    taken = 0
    for at in order:
        if at != without and taken < count:
            total += value[at]
            taken += 1
    return total if taken == count else np.inf


@njit(cache=True, nogil=True)
def cheapest_set(
    tokens: NDArray[np.int64],
    first: NDArray[np.int64],
    experts_of: NDArray[np.int64],
    weight: NDArray[np.float64],
    alone: NDArray[np.float64],
    shared: NDArray[np.float64],
    use: NDArray[np.float64],
    size: int,
    limit: float,
    most_steps: int,
) -> tuple[float, bool]:
    """Return the least of `limit` and touched − price over sets of `size` experts within the cap.

    Experts are numbered in the order in which they are chosen. A set is completed by r further
    experts: each adds what `alone` says, at most half of what it shares with each of its r − 1
    strongest partners is counted twice.

    Parameters
    ----------
    tokens, first
        Tokens of expert e are ``tokens[first[e]:first[e + 1]]``.
    experts_of
        (tokens, k) experts with −1 pads.
    weight
        (tokens,) shares.
    alone
        (experts,) weight of its tokens less its price.
    shared
        (experts, experts) weight of the tokens that use both.
    """
    number = alone.size
    costs = np.zeros((size + 1, number))
    common = np.zeros((size + 1, number, number))
    seen = np.zeros((size + 1, weight.size), np.bool_)
    open_ = np.zeros((size + 1, number), np.int64)
    count, place = np.zeros(size + 1, np.int64), np.zeros(size + 1, np.int64)
    total, used = np.zeros(size + 1), np.zeros(size + 1)
    costs[0], common[0] = alone, shared
    open_[0], count[0] = np.arange(number), number
    level, steps = 0, 0
    while level >= 0:
        if place[level] >= count[level]:
            level -= 1
            continue
        expert = open_[level, place[level]]
        place[level] += 1
        left = size - level - 1
        value = total[level] + costs[level, expert]
        load = used[level] + use[expert]
        if load > 1.0:
            continue
        if left == 0:
            limit = min(limit, value)
            continue
        rest = open_[level, place[level] : count[level]]
        if rest.size < left:
            continue
        steps += 1
        if steps > most_steps:
            return limit, False
        here = np.zeros(rest.size)
        for a in range(rest.size):
            here[a] = costs[level, rest[a]] - common[level, expert, rest[a]]
        if left == 1:
            for a in range(rest.size):
                if load + use[rest[a]] <= 1.0:
                    limit = min(limit, value + here[a])
            continue
        for a in range(rest.size):
            row = np.zeros(rest.size)
            for b in range(rest.size):
                row[b] = -common[level, rest[a], rest[b]]
            here[a] += 0.5 * _lowest(row, left - 1, a)
        if value + _lowest(here, left, -1) >= limit:
            continue
        below = level + 1
        kept = 0
        for a in range(rest.size):
            if value + here[a] + _lowest(here, left - 1, a) < limit:
                open_[below, kept] = rest[a]
                kept += 1
        if kept < left:
            continue
        costs[below], common[below] = costs[level], common[level]
        seen[below] = seen[level]
        for at in range(first[expert], first[expert + 1]):
            token = tokens[at]
            if seen[level, token]:
                continue
            seen[below, token] = True
            for one in experts_of[token]:
                if one >= 0:
                    costs[below, one] -= weight[token]
                    for other in experts_of[token]:
                        if other >= 0 and other != one:
                            common[below, one, other] -= weight[token]
        count[below], place[below] = kept, 0
        total[below], used[below] = value, load
        level = below
    return limit, True
