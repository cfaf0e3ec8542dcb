# mypy: disallow-untyped-decorators=False
"""Compiled random choices: numbers, shuffles and children of two permutations."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numba import njit

if TYPE_CHECKING:
    from numpy.typing import NDArray


@njit(cache=True, nogil=True)
def cross(
    one: NDArray[np.int64], two: NDArray[np.int64], random: NDArray[np.uint64]
) -> NDArray[np.int64]:
    """Return a child of two permutations: what they share stays, the rest from either at random.

    Facilities whose locations in both parents are taken get the free ones at random.
    """
    n = one.size
    child, order = np.empty(n, np.int64), np.empty(n, np.int64)
    taken = np.zeros(n, np.bool_)
    for i in range(n):
        order[i] = i
        child[i] = -1
        if one[i] == two[i]:
            child[i] = one[i]
            taken[one[i]] = True
    _shuffle(order, n, random)
    for facility in order:
        if child[facility] >= 0:
            continue
        first = draw_below(random, 2) == 0
        choice = one[facility] if first else two[facility]
        if taken[choice]:
            choice = two[facility] if first else one[facility]
        if not taken[choice]:
            child[facility] = choice
            taken[choice] = True
    free = 0
    for location in range(n):
        if not taken[location]:
            order[free] = location
            free += 1
    _shuffle(order, free, random)
    for i in range(n):
        if child[i] < 0:
            free -= 1
            child[i] = order[free]
    return child


@njit(cache=True, nogil=True)
def draw_below(random: NDArray[np.uint64], limit: int) -> int:
    """Return a random number from 0 to `limit` − 1 (xorshift, Marsaglia 2003)."""
    number: int = np.int64(_draw(random) >> np.uint64(33))  # type: ignore[assignment]
    return number % limit


@njit(cache=True, nogil=True)
def draw_unit(random: NDArray[np.uint64]) -> float:
    """Return a random number from 0 to below 1."""
    return np.float64(_draw(random) >> np.uint64(11)) * 2.0**-53


@njit(cache=True, nogil=True)
def _shuffle(items: NDArray[np.int64], count: int, random: NDArray[np.uint64]) -> None:
    for i in range(count - 1, 0, -1):
        j = draw_below(random, i + 1)
        items[i], items[j] = items[j], items[i]


@njit(cache=True, nogil=True)
def _draw(random: NDArray[np.uint64]) -> np.uint64:
    x: np.uint64 = random[0]
    x ^= x << np.uint64(13)
    x ^= x >> np.uint64(7)
    x ^= x << np.uint64(17)
    random[0] = x
    return x
