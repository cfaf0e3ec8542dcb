"""Compiled check of prices on experts: every set of experts is looked at or ruled out by pairs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numba import njit

if TYPE_CHECKING:
    from numpy.typing import NDArray

ESTIMATES = 2


@njit(cache=True, nogil=True)
def _largest(
    value: NDArray[np.float64], count: int, without: int, top: NDArray[np.float64]
) -> float:
    """Return the sum of the `count` largest positive values, one left out."""
    top[:count] = 0.0
    for a in range(value.size):
        if a == without or value[a] <= top[count - 1]:
            continue
        i = count - 1
        while i > 0 and top[i - 1] < value[a]:
            top[i] = top[i - 1]
            i -= 1
        top[i] = value[a]
    return top[:count].sum()


@njit(cache=True, nogil=True)
def _possible(
    limit: float,
    base: float,
    count: int,
    touched: NDArray[np.float64],
    paid: NDArray[np.float64],
    shared: NDArray[np.float64],
    alive: NDArray[np.bool_],
) -> int:
    """Mark which experts a completion by `count` ≥ 1 below the limit can use; count them.

    For every k ≥ 1 the union of sets is at least 2/(k + 1) of their sizes less 2/(k(k + 1)) of
    what pairs of them have in common; `shared` is at least what an expert and those chosen with
    it have in common, and half of it is the expert's.
    """
    if touched.size < count:
        return 0
    alive[:] = True
    for k in range(1, ESTIMATES + 1):
        adds = touched * (2 / (k + 1)) - paid - shared / (k * (k + 1))
        lowest = np.partition(adds, count - 1)[:count]
        total = base + lowest.sum()
        if total >= limit:
            return 0
        last = lowest.max()
        for a in range(adds.size):
            if adds[a] > last and total + adds[a] - last >= limit:
                alive[a] = False
    return int(alive.sum())


@njit(cache=True, nogil=True)
def _narrowed(
    limit: float,
    base: float,
    count: int,
    n: int,
    open_: NDArray[np.int64],
    touched: NDArray[np.float64],
    common: NDArray[np.float64],
    paid: NDArray[np.float64],
    fewer: NDArray[np.float64],
) -> int:
    """Keep the experts that a set may still be completed with, those with most in common first.

    `fewer` becomes what an expert has in common with its strongest partners but one.
    """
    partners, top = np.zeros(n), np.zeros(count)
    alive = np.zeros(n, np.bool_)
    while n >= count:
        for a in range(n):
            partners[a] = _largest(common[a, :n], count - 1, a, top)
            fewer[a] = partners[a] - top[count - 2]
        cost = paid[open_[:n]]
        stay = _possible(limit, base, count, touched[:n], cost, partners[:n], alive[:n])
        if stay < count:
            break
        kept = np.flatnonzero(alive[:n])
        if stay == n:
            kept = np.argsort(-partners[:n])
        open_[:stay], touched[:stay], fewer[:stay] = open_[kept], touched[kept], fewer[kept]
        before = common[:n, :n].copy()
        for a in range(stay):
            common[a, :stay] = before[kept[a]][kept]
        if stay == n:
            return n
        n = stay
    return 0


@njit(cache=True, nogil=True)
def cheapest_set(
    tokens: NDArray[np.int64],
    first: NDArray[np.int64],
    experts_of: NDArray[np.int64],
    weight: NDArray[np.float64],
    paid: NDArray[np.float64],
    shared: NDArray[np.float64],
    use: NDArray[np.float64],
    size: int,
    limit: float,
    most_steps: int,
) -> tuple[float, bool]:
    """Return the least of `limit` and touched − price over sets of `size` experts within the cap.

    Each expert is tried first in turn and then left out. What an expert and the others to come
    have in common is at most what its strongest partners among those still possible have.

    Parameters
    ----------
    tokens, first
        Tokens of expert e are ``tokens[first[e]:first[e + 1]]``.
    experts_of
        (tokens, k) experts with −1 pads.
    weight
        (tokens,) shares.
    paid
        (experts,) prices.
    shared
        (experts, experts) weight of the tokens that use both, zero diagonal.
    """
    experts = paid.size
    open_ = np.zeros((size, experts), np.int64)
    touched, fewer = np.zeros((size, experts)), np.zeros((size, experts))
    common = np.zeros((size, experts, experts))
    count, place = np.zeros(size, np.int64), np.zeros(size, np.int64)
    total, used = np.zeros(size + 1), np.zeros(size + 1)
    taken = np.zeros(size, np.int64)
    seen = np.full(weight.size, size, np.int64)  # level of the first expert of the set it uses
    alive = np.zeros(experts, np.bool_)
    seat, there = np.full(experts, -1), np.zeros(experts_of.shape[1], np.int64)
    open_[0], common[0], count[0] = np.arange(experts), shared, experts
    for expert in range(experts):
        touched[0, expert] = weight[tokens[first[expert] : first[expert + 1]]].sum()
    if size > 2:
        count[0] = _narrowed(
            limit, 0.0, size, experts, open_[0], touched[0], common[0], paid, fewer[0]
        )
    level, steps = 0, 0
    while True:
        at, n = place[level], count[level]
        if at >= n:
            level -= 1
            if level < 0:
                return limit, True
            for token in tokens[first[taken[level]] : first[taken[level] + 1]]:
                if seen[token] == level:
                    seen[token] = size
            continue
        place[level] += 1
        expert, left = open_[level, at], size - level - 1
        value = total[level] + touched[level, at] - paid[expert]
        load = used[level] + use[expert]
        fits = np.arange(at + 1, n)
        fits = fits[load + use[open_[level, at + 1 : n]] <= 1.0]
        here = touched[level][fits] - common[level, at][fits]
        cost = paid[open_[level][fits]]
        if left == 1:
            if fits.size:
                limit = min(limit, value + (here - cost).min())
            continue
        mark = alive[: fits.size]
        if _possible(limit, value, left, here, cost, fewer[level][fits], mark) < left:
            continue
        steps += 1
        if steps > most_steps:
            return limit, False
        fits = fits[mark]
        below, m = level + 1, fits.size
        open_[below, :m] = open_[level][fits]
        touched[below, :m] = touched[level][fits]
        for i in range(m):
            common[below, i, :m] = common[level, fits[i]][fits]
            seat[open_[below, i]] = i
        taken[level] = expert
        for token in tokens[first[expert] : first[expert + 1]]:
            if seen[token] < size:
                continue
            seen[token] = level
            k = 0
            for one in experts_of[token]:
                if one < 0 or seat[one] < 0:
                    continue
                a = seat[one]
                touched[below, a] -= weight[token]
                for j in range(k):
                    common[below, a, there[j]] -= weight[token]
                    common[below, there[j], a] -= weight[token]
                there[k] = a
                k += 1
        for i in range(m):
            seat[open_[below, i]] = -1
        total[below], used[below], place[below] = value, load, 0
        if left > 2:
            m = _narrowed(
                limit, value, left, m, open_[below], touched[below], common[below], paid,
                fewer[below],
            )  # fmt: skip
        count[below] = m
        level = below
