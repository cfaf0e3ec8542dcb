"""Compiled proximal steps of prices on pairs, by mixtures of partitions of each token."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numba import njit

if TYPE_CHECKING:
    from numpy.typing import NDArray

ATOMS = 24  # partitions that a token's mixture is made of, at most
STEP = 1.6  # of the multipliers, for a penalty of 1
CLOSE = 1e-7  # how much cheaper a partition must be to enter a mixture
EXCHANGES = 3  # per partition of a mixture and call
LARGEST = 1.27  # prices beyond are never needed: at 1 an expert is as cheap alone


@njit(cache=True, nogil=True)
def _bits(mask: np.int64) -> int:
    """Return the number of ones."""
    count = 0
    while mask:
        mask &= mask - 1
        count += 1
    return count


@njit(cache=True, nogil=True)
def _cheapest(
    price: NDArray[np.float64],
    size: int,
    cost: NDArray[np.float64],
    best: NDArray[np.float64],
    choice: NDArray[np.int64],
    member: NDArray[np.int64],
) -> tuple[float, int]:
    """Return the least of parts + prices over partitions, and how many parts reach it.

    Writes to `member` for each expert the subset that is its part.
    """
    cost[0] = best[0] = 0.0
    full = (1 << size) - 1
    for subset in range(1, full + 1):
        first = 0
        while not (subset >> first) & 1:
            first += 1
        rest = subset & (subset - 1)
        value = cost[rest] - 1.0 if rest else 0.0
        for other in range(first + 1, size):
            if (rest >> other) & 1:
                value += price[first, other]
        cost[subset] = 1.0 + value
    for subset in range(1, full + 1):
        low = subset & -subset
        rest = subset ^ low
        chosen = rest
        least, taken = 1e300, 0
        while True:
            value = cost[chosen | low] + best[rest ^ chosen]
            if value < least:
                least, taken = value, chosen | low
            if chosen == 0:
                break
            chosen = (chosen - 1) & rest
        best[subset], choice[subset] = least, taken
    left, parts = full, 0
    while left:
        part = choice[left]
        for i in range(size):
            if (part >> i) & 1:
                member[i] = part
        left ^= part
        parts += 1
    return best[full], parts


@njit(cache=True, nogil=True)
def _exchange(
    atom: NDArray[np.int64],
    share: NDArray[np.float64],
    value: NDArray[np.float64],
    count: int,
    penalty: float,
    steps: int,
) -> None:
    """Move shares from the dearest to the cheapest partition of a mixture, exactly each time."""
    for _ in range(steps):
        low, high = -1, -1
        for a in range(count):
            if low < 0 or value[a] < value[low]:
                low = a
            if share[a] > 0 and (high < 0 or value[a] > value[high]):
                high = a
        gain = value[high] - value[low]
        if gain < CLOSE:
            return
        moved = gain / (penalty * _bits(atom[low] ^ atom[high]))
        if moved >= share[high]:
            moved = share[high]
            share[high] = 0.0
        else:
            share[high] -= moved
        share[low] += moved
        for a in range(count):
            change = _bits(atom[low] & atom[a]) - _bits(atom[high] & atom[a])
            value[a] += penalty * moved * change


@njit(cache=True, nogil=True)
def step_prices(
    ids: NDArray[np.int32],
    size: NDArray[np.int64],
    weight: NDArray[np.float64],
    together: NDArray[np.float64],
    price: NDArray[np.float64],
    atom: NDArray[np.int64],
    parts: NDArray[np.float64],
    share: NDArray[np.float64],
    penalty: float,
    searches: int,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Make one step of the alternating direction method for every token, in place.

    With y the pairs of a token's experts that its mixture puts together: prices rise by
    STEP · penalty · (y − X); then the mixture is improved towards the least of its mean parts
    + prices · y + penalty/2 · |y − X|², by adding partitions and moving shares between them.
    Complexity: O(searches · tokens · 3^size).

    Parameters
    ----------
    together
        (experts, experts) X.
    price
        (tokens, k (k − 1) / 2) prices of the pairs (0, 1), (0, 2), …, changed.
    atom
        (tokens, ATOMS) partitions, a bit for each pair that is together, changed.
    parts, share
        (tokens, ATOMS) their numbers of parts and shares, which add up to 1; a token whose
        shares add up to 0 has no mixture yet, and its prices stay.
    penalty, searches
        Weight of |y − X|², and partitions looked for in each token.

    Returns
    -------
    (experts, experts) half the weighted prices of each pair, and half the weighted y.
    """
    experts, width = together.shape[0], ids.shape[1]
    pairs = width * (width - 1) // 2
    asked = np.zeros((experts, experts))
    wished = np.zeros((experts, experts))
    cost, best = np.zeros(1 << width), np.zeros(1 << width)
    choice = np.zeros(1 << width, np.int64)
    member, kept = np.zeros(width, np.int64), np.zeros(width, np.int64)
    first, second = np.zeros(pairs, np.int64), np.zeros(pairs, np.int64)
    at = 0
    for i in range(width):
        for j in range(i + 1, width):
            first[at], second[at] = i, j
            at += 1
    x, y = np.zeros(pairs), np.zeros(pairs)
    slope = np.zeros((width, width))
    local = np.zeros((width, width))
    value = np.zeros(ATOMS)
    for token in range(ids.shape[0]):
        n = size[token]
        count = 0
        for a in range(ATOMS):  # the partitions that have a share come first
            if share[token, a] > 0:
                atom[token, count], parts[token, count] = atom[token, a], parts[token, a]
                share[token, count] = share[token, a]
                count += 1
        share[token, count:] = 0.0
        y[:] = 0.0
        for a in range(count):
            for q in range(pairs):
                if (atom[token, a] >> q) & 1:
                    y[q] += share[token, a]
        for q in range(pairs):
            if second[q] < n:
                x[q] = together[ids[token, first[q]], ids[token, second[q]]]
                if count:
                    raised = price[token, q] + STEP * penalty * (y[q] - x[q])
                    price[token, q] = min(LARGEST, max(-LARGEST, raised))
        for _ in range(searches if count else 3 * searches):
            for q in range(pairs):
                if second[q] < n:
                    here = price[token, q] + penalty * (y[q] - x[q])
                    slope[first[q], second[q]] = slope[second[q], first[q]] = here
            active = 0
            for i in range(n):
                for j in range(n):
                    if j != i and slope[i, j] < 1.0:
                        kept[active] = i
                        active += 1
                        break
            for i in range(active):
                for j in range(i + 1, active):
                    local[i, j] = slope[kept[i], kept[j]]
            least, number = _cheapest(local, active, cost, best, choice, member)
            mask = np.int64(0)
            for i in range(active):
                for j in range(i + 1, active):
                    if (member[i] >> j) & 1:
                        p, r = kept[i], kept[j]
                        mask |= np.int64(1) << (p * width - p * (p + 1) // 2 + r - p - 1)
            least += n - active
            lowest = 1e300
            for a in range(count):
                value[a] = parts[token, a]
                for q in range(pairs):
                    if (atom[token, a] >> q) & 1:
                        value[a] += slope[first[q], second[q]]
                lowest = min(lowest, value[a])
            new_one = least < lowest - CLOSE
            if new_one:
                if count == ATOMS:  # the smallest share goes to the largest
                    small, large = 0, 0
                    for a in range(count):
                        if share[token, a] < share[token, small]:
                            small = a
                        if share[token, a] > share[token, large]:
                            large = a
                    share[token, large] += share[token, small]
                    new = small
                else:
                    new = count
                    count += 1
                atom[token, new], parts[token, new] = mask, number + n - active
                share[token, new] = 0.0 if count > 1 else 1.0
                if count == ATOMS:  # what the smallest gave away moved y
                    y[:] = 0.0
                    for a in range(count):
                        for q in range(pairs):
                            if (atom[token, a] >> q) & 1:
                                y[q] += share[token, a]
                for a in range(count):
                    value[a] = parts[token, a]
                    for q in range(pairs):
                        if (atom[token, a] >> q) & 1:
                            value[a] += price[token, q] + penalty * (y[q] - x[q])
            _exchange(atom[token], share[token], value, count, penalty, EXCHANGES * count)
            y[:] = 0.0
            for a in range(count):
                for q in range(pairs):
                    if (atom[token, a] >> q) & 1:
                        y[q] += share[token, a]
            if not new_one:
                break
        for q in range(pairs):
            if second[q] < n:
                i, j = ids[token, first[q]], ids[token, second[q]]
                half = 0.5 * weight[token]
                asked[i, j] += half * price[token, q]
                wished[i, j] += half * y[q]
    return asked + asked.T, wished + wished.T
