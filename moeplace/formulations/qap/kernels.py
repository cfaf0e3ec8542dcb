# mypy: disallow-untyped-decorators=False
"""Compiled local search for quadratic assignment: robust tabu search and annealing.

Everything rests on one table, ``price[i, k]``: what facility i would pay at location k while all
others stay where they are. The change of cost by a swap is four of its entries and a correction,
and after a swap the table changes by an outer product. Whole numbers below 2^53 are exact in
float64, so the arithmetic on them is integer arithmetic.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numba import njit

from moeplace.formulations.qap.random_kernels import draw_below, draw_unit
from moeplace.formulations.qap.table_kernels import (
    add_outer,
    best_swap,
    copy_to,
    differences,
    moved_cost,
    refresh_closed,
    refresh_swaps,
    update_swaps,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

NEVER = 20.0
"""Rises of more than this many temperatures are refused without drawing (chance below 2.1e-9)."""


class Matrices(NamedTuple):
    """An instance as the kernels read it; diagonals are zero, what they cost is in `linear`.

    Attributes
    ----------
    flow, distance
        (n, n) matrices.
    flow_t, distance_t
        Their transposes, stored row by row.
    pair_flow, pair_distance
        (n, n) symmetric; their products are what the prices of a swap's two facilities leave out.
    linear
        (n, n) cost of facility i at location k by itself.
    symmetric
        Whether both are symmetric; the cost then counts every pair once.
    """

    flow: NDArray[np.float64]
    flow_t: NDArray[np.float64]
    distance: NDArray[np.float64]
    distance_t: NDArray[np.float64]
    pair_flow: NDArray[np.float64]
    pair_distance: NDArray[np.float64]
    linear: NDArray[np.float64]
    symmetric: bool


class State(NamedTuple):
    """Where a search is; all arrays change in place.

    Attributes
    ----------
    perm, best_perm
        (n,) location of each facility, now and at the best.
    price
        (n, n) cost of a facility at a location.
    paid
        (n,) price of each facility where it is.
    delta
        (n, n) change of cost by a swap; only above the diagonal.
    until
        (n, n) iteration until which facility i may not return to location k.
    closed
        (n, n) iteration until which a swap is forbidden; only above the diagonal.
    value
        (2,) cost now and best cost.
    random
        (1,) state of the random numbers, not 0.
    """

    perm: NDArray[np.int64]
    best_perm: NDArray[np.int64]
    price: NDArray[np.float64]
    paid: NDArray[np.float64]
    delta: NDArray[np.float64]
    until: NDArray[np.int64]
    closed: NDArray[np.int64]
    value: NDArray[np.float64]
    random: NDArray[np.uint64]


@njit(cache=True, nogil=True)
def total_cost(m: Matrices, perm: NDArray[np.int64]) -> float:
    """Return the cost of a permutation from scratch; O(n²)."""
    total = 0.0
    for i in range(perm.size):
        total += m.linear[i, perm[i]]
        row = m.distance[perm[i]]
        for j in range(i + 1 if m.symmetric else 0, perm.size):
            total += m.flow[i, j] * row[perm[j]]
    return total


@njit(cache=True, nogil=True)
def prepare(m: Matrices, s: State) -> None:
    """Build the tables of `s` for its permutation, nothing forbidden; O(n³)."""
    n = s.perm.size
    s.value[0] = total_cost(m, s.perm)
    s.value[1] = s.value[0]
    copy_to(s.best_perm, s.perm)
    for i in range(n):
        for k in range(n):
            s.until[i, k] = 0
            s.closed[i, k] = 0
            s.price[i, k] = m.linear[i, k]
    for j in range(n):
        add_outer(s.price, m.flow_t[j], m.distance_t[s.perm[j]])
        if not m.symmetric:
            add_outer(s.price, m.flow[j], m.distance[s.perm[j]])
    for i in range(n):
        s.paid[i] = s.price[i, s.perm[i]]
    for i in range(n):
        refresh_swaps(s.delta, s.price, s.paid, s.perm, m.pair_flow, m.pair_distance, i)


@njit(cache=True, nogil=True)
def tabu_search(m: Matrices, s: State, first: int, count: int, tenure: int, spread: int) -> None:
    """Run iterations `first` … `first` + `count` − 1 of robust tabu search [1]_ on `s`.

    Every iteration makes the best swap that is not forbidden; ties are broken at random. A
    facility may not return to a location for `tenure` … `tenure` + `spread` − 1 iterations, and a
    swap is forbidden where both of its facilities would return, unless it gives a new best.
    Continue a search with the next `first`; the first one is 1. O(n²) an iteration.

    References
    ----------
    .. [1] E. Taillard, "Robust taboo search for the quadratic assignment problem", Parallel
       Computing 17 (1991).
    """
    # Arrays, not tuples of them, go to the inner functions: counting references costs time.
    perm, price, paid, delta, random = s.perm, s.price, s.paid, s.delta, s.random
    until, closed = s.until, s.closed
    pair_flow, pair_distance = m.pair_flow, m.pair_distance
    n = perm.size
    flow, distance, moved = np.empty(n), np.empty(n), np.empty(n)
    now, best = s.value[0], s.value[1]
    for iteration in range(first, first + count):
        a, b = best_swap(delta, closed, best - now, iteration, random)
        here, there = perm[a], perm[b]
        now += delta[a, b]
        until[a, here] = iteration + tenure + draw_below(random, spread)
        until[b, there] = iteration + tenure + draw_below(random, spread)
        for turn in range(1 if m.symmetric else 2):
            if turn == 0:
                differences(flow, distance, m.flow_t, m.distance_t, a, b, here, there)
            else:
                differences(flow, distance, m.flow, m.distance, a, b, here, there)
            for k in range(n):
                moved[k] = distance[perm[k]]
                paid[k] += flow[k] * moved[k]
            add_outer(price, flow, distance)
            update_swaps(delta, flow, moved)
        perm[a], perm[b] = there, here
        paid[a], paid[b] = price[a, there], price[b, here]
        refresh_swaps(delta, price, paid, perm, pair_flow, pair_distance, a)
        refresh_swaps(delta, price, paid, perm, pair_flow, pair_distance, b)
        refresh_closed(closed, until, perm, a)
        refresh_closed(closed, until, perm, b)
        if now < best:
            best = now
            copy_to(s.best_perm, perm)
    s.value[0], s.value[1] = now, best


@njit(cache=True, nogil=True)
def anneal_rows(
    m: Matrices, s: State, first: int, last: int, temperature: float, tabled: bool
) -> int:
    """Try the swaps of facilities `first` … `last` − 1 with all later ones at one temperature.

    A rise of d is accepted with chance exp(−d / `temperature`). Visiting the pairs in turn is
    Connolly's scheme [1]_. With `tabled` the prices are kept, and a trial costs O(1) and an
    accepted swap O(n²); without, they cost O(n) and O(1). Return how many swaps were accepted.

    References
    ----------
    .. [1] D. T. Connolly, "An improved annealing scheme for the QAP", European Journal of
       Operational Research 46 (1990).
    """
    perm, price, random = s.perm, s.price, s.random
    pair_flow, pair_distance = m.pair_flow, m.pair_distance
    n = perm.size
    flow, distance = np.empty(n), np.empty(n)
    now, best = s.value[0], s.value[1]
    accepted = 0
    for a in range(first, last):
        for b in range(a + 1, n):
            here, there = perm[a], perm[b]
            change = pair_flow[a, b] * pair_distance[here, there]
            if tabled:
                change += price[a, there] + price[b, here] - price[a, here] - price[b, there]
            else:
                change += m.linear[a, there] + m.linear[b, here]
                change -= m.linear[a, here] + m.linear[b, there]
                change += moved_cost(m.flow_t, m.distance_t, perm, a, b)
                if not m.symmetric:
                    change += moved_cost(m.flow, m.distance, perm, a, b)
            if change > 0.0:
                if change > NEVER * temperature:
                    continue
                if draw_unit(random) >= np.exp(-change / temperature):
                    continue
            now += change
            accepted += 1
            perm[a], perm[b] = there, here
            if tabled:
                differences(flow, distance, m.flow_t, m.distance_t, a, b, here, there)
                add_outer(price, flow, distance)
                if not m.symmetric:
                    differences(flow, distance, m.flow, m.distance, a, b, here, there)
                    add_outer(price, flow, distance)
            if now < best:
                best = now
                copy_to(s.best_perm, perm)
    s.value[0], s.value[1] = now, best
    return accepted
