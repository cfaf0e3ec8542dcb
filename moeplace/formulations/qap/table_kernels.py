# mypy: disallow-untyped-decorators=False
"""Compiled parts of the searches: the tables of prices, of swaps, and of what is forbidden."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numba import njit

from moeplace.formulations.qap.random_kernels import draw_below

if TYPE_CHECKING:
    from numpy.typing import NDArray


@njit(cache=True, nogil=True)
def copy_to(target: NDArray[np.int64], source: NDArray[np.int64]) -> None:
    """Copy a permutation; a loop compiles in less time than an array assignment."""
    for i in range(source.size):
        target[i] = source[i]


@njit(cache=True, nogil=True)
def differences(
    by_facility: NDArray[np.float64],
    by_location: NDArray[np.float64],
    flow: NDArray[np.float64],
    distance: NDArray[np.float64],
    a: int,
    b: int,
    here: int,
    there: int,
) -> None:
    """Set what facility a sends more than b, and what the location of b is farther away."""
    for k in range(by_facility.size):
        by_facility[k] = flow[a, k] - flow[b, k]
        by_location[k] = distance[there, k] - distance[here, k]


@njit(cache=True, nogil=True)
def add_outer(
    table: NDArray[np.float64], column: NDArray[np.float64], row: NDArray[np.float64]
) -> None:
    """Add the outer product of `column` and `row` to `table`."""
    for i in range(column.size):
        factor = column[i]
        if factor != 0.0:  # sparse flows cost nothing
            target = table[i]
            for k in range(row.size):
                target[k] += factor * row[k]


@njit(cache=True, nogil=True)
def update_swaps(
    delta: NDArray[np.float64], flow: NDArray[np.float64], distance: NDArray[np.float64]
) -> None:
    """Correct the changes by all swaps, but those of the two facilities just swapped."""
    # The entries below the diagonal are never read: a whole row is one loop of vector code.
    for i in range(flow.size - 1):
        target, own_flow, own_distance = delta[i], flow[i], distance[i]
        for j in range(flow.size):
            target[j] -= (own_flow - flow[j]) * (own_distance - distance[j])


@njit(cache=True, nogil=True)
def refresh_swaps(
    delta: NDArray[np.float64],
    price: NDArray[np.float64],
    paid: NDArray[np.float64],
    perm: NDArray[np.int64],
    pair_flow: NDArray[np.float64],
    pair_distance: NDArray[np.float64],
    a: int,
) -> None:
    """Set what swapping a with any other changes."""
    here = perm[a]
    own, flow, distance, own_paid = price[a], pair_flow[a], pair_distance[here], paid[a]
    for j in range(perm.size):
        there = perm[j]
        change = own[there] + price[j, here] - own_paid - paid[j] + flow[j] * distance[there]
        if j < a:
            delta[j, a] = change
        elif j > a:
            delta[a, j] = change


@njit(cache=True, nogil=True)
def refresh_closed(
    closed: NDArray[np.int64], until: NDArray[np.int64], perm: NDArray[np.int64], a: int
) -> None:
    """Set until when a may not be swapped with each other facility."""
    here, own = perm[a], until[a]
    for j in range(perm.size):
        end = min(own[perm[j]], until[j, here])
        if j < a:
            closed[j, a] = end
        elif j > a:
            closed[a, j] = end


@njit(cache=True, nogil=True)
def best_swap(
    delta: NDArray[np.float64],
    closed: NDArray[np.int64],
    wanted: float,
    iteration: int,
    random: NDArray[np.uint64],
) -> tuple[int, int]:
    """Return the best swap allowed, or a random one if none is."""
    n = delta.shape[0]
    best, a, b, ties = np.inf, -1, -1, 0
    for i in range(n - 1):
        row = delta[i, i + 1 :]
        candidates = 0
        for j in range(row.size):  # vector code: most rows have no candidate
            candidates += row[j] <= best
        if candidates == 0:
            continue
        end = closed[i, i + 1 :]
        for j in range(row.size):
            if row[j] > best or (end[j] >= iteration and row[j] >= wanted):
                continue
            ties = ties + 1 if row[j] == best else 1
            if ties == 1 or draw_below(random, ties) == 0:
                best, a, b = row[j], i, i + 1 + j
    if a < 0:
        a = draw_below(random, n)
        b = (a + 1 + draw_below(random, n - 1)) % n
    return min(a, b), max(a, b)


@njit(cache=True, nogil=True)
def moved_cost(
    flow: NDArray[np.float64],
    distance: NDArray[np.float64],
    perm: NDArray[np.int64],
    a: int,
    b: int,
) -> float:
    """Return by how much the flows of a and b cost more once the two are swapped."""
    flow_a, flow_b = flow[a], flow[b]
    near, far = distance[perm[a]], distance[perm[b]]
    change = 0.0
    for k in range(perm.size):
        location = perm[k]
        change += (flow_a[k] - flow_b[k]) * (far[location] - near[location])
    return change
