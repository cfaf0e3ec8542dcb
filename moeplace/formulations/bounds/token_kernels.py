"""Compiled inner loops over tokens: what pairs on one part say about the parts a token touches."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numba import njit

if TYPE_CHECKING:
    from numpy.typing import NDArray


@njit(cache=True, nogil=True)
def _costs(price: NDArray[np.float64], size: int, out: NDArray[np.float64]) -> None:
    """Write to `out` for each subset of experts: 1 + prices of its pairs."""
    out[0] = 0.0
    for subset in range(1, 1 << size):
        first = 0
        while not (subset >> first) & 1:
            first += 1
        rest = subset & (subset - 1)
        value = out[rest] - 1.0 if rest else 0.0
        for other in range(first + 1, size):
            if (rest >> other) & 1:
                value += price[first, other]
        out[subset] = 1.0 + value


@njit(cache=True, nogil=True)
def _unpack(price: NDArray[np.float64], out: NDArray[np.float64]) -> None:
    """Write the prices of the pairs (0, 1), (0, 2), … to a symmetric matrix."""
    at = 0
    for i in range(out.shape[0]):
        for j in range(i + 1, out.shape[0]):
            out[i, j] = out[j, i] = price[at]
            at += 1


@njit(cache=True, nogil=True)
def _least(cost: NDArray[np.float64], size: int, best: NDArray[np.float64]) -> float:
    """Return the least total cost of a partition of all experts into subsets."""
    best[0] = 0.0
    for subset in range(1, 1 << size):
        low = subset & -subset
        rest = subset ^ low
        chosen = rest
        least = 1e300
        while True:
            value = cost[chosen | low] + best[rest ^ chosen]
            if value < least:
                least = value
            if chosen == 0:
                break
            chosen = (chosen - 1) & rest
        best[subset] = least
    return float(best[(1 << size) - 1])


@njit(cache=True, nogil=True)
def least_parts(
    ids: NDArray[np.int32],
    size: NDArray[np.int64],
    weight: NDArray[np.float64],
    price: NDArray[np.float64],
    experts: int,
) -> tuple[float, NDArray[np.float64]]:
    """Return c and G with Σ_t w_t · parts_t ≥ c − ⟨G, X⟩ for every partition X.

    With prices b of a token's pairs, parts + Σ b_ij X_ij is at least its minimum over all
    partitions of the token's own experts. Complexity: O(tokens · 3^size).

    Parameters
    ----------
    ids, size
        (tokens, k) experts, the first `size` of them count.
    weight
        (tokens,) weights w.
    price
        (tokens, k (k − 1) / 2) prices of the pairs (0, 1), (0, 2), ….
    experts
        E; G is (E, E), symmetric with zero diagonal, each pair counted twice in ⟨G, X⟩.
    """
    width = ids.shape[1]
    cost, best = np.zeros(1 << width), np.zeros(1 << width)
    local = np.zeros((width, width))
    kept = np.zeros(width, np.int64)
    pairs = np.zeros((experts, experts))
    constant = 0.0
    for token in range(ids.shape[0]):
        _unpack(price[token], local)
        count = 0
        for i in range(size[token]):
            apart = True  # at prices of at least 1 an expert is cheapest alone
            for j in range(size[token]):
                apart = apart and (j == i or local[i, j] >= 1.0)
            if not apart:
                kept[count] = i
                count += 1
        for i in range(count):
            for j in range(i + 1, count):
                local[i, j] = local[kept[i], kept[j]]
        _costs(local, count, cost)
        constant += weight[token] * (size[token] - count + _least(cost, count, best))
        at = 0
        for i in range(width):
            for j in range(i + 1, width):
                if j < size[token]:
                    half = 0.5 * weight[token] * price[token, at]
                    pairs[ids[token, i], ids[token, j]] += half
                    pairs[ids[token, j], ids[token, i]] += half
                at += 1
    return constant, pairs
