# mypy: disallow-untyped-decorators=False
"""Compiled branch and bound for quadratic assignment, Gilmore–Lawler bound at every node."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numba import njit

if TYPE_CHECKING:
    from numpy.typing import NDArray


@njit(cache=True, nogil=True)
def assignment(
    cost: NDArray[np.float64],
    size: int,
    u: NDArray[np.float64],
    v: NDArray[np.float64],
    mate: NDArray[np.int64],
) -> float:
    """Solve the linear assignment of cost[:size, :size] by shortest augmenting paths.

    Leaves the dual values in `u` (rows) and `v` (columns) and the row of each column in `mate`;
    returns the least cost. O(size³). Source: Jonker & Volgenant, Computing 38 (1987).
    """
    way = np.empty(size + 1, np.int64)
    least = np.empty(size + 1)
    used = np.empty(size + 1, np.bool_)
    row_of = np.full(size + 1, -1, np.int64)
    for i in range(size):
        u[i] = 0.0
    for j in range(size):
        v[j] = 0.0
    for i in range(size):
        for j in range(size + 1):
            least[j] = np.inf
            used[j] = False
        row_of[size] = i  # a column beyond the last stands for the row to be placed
        at = size
        while row_of[at] >= 0:
            used[at] = True
            row = row_of[at]
            step, following = np.inf, -1
            for j in range(size):
                if not used[j]:
                    reduced = cost[row, j] - u[row] - v[j]
                    if reduced < least[j]:
                        least[j] = reduced
                        way[j] = at
                    if least[j] < step:
                        step, following = least[j], j
            for j in range(size + 1):
                if used[j]:
                    u[row_of[j]] += step
                    if j < size:
                        v[j] -= step
                elif j < size:
                    least[j] -= step
            at = following
        while at != size:
            before = way[at]
            row_of[at] = row_of[before]
            at = before
        row_of[size] = -1
    total = 0.0
    for j in range(size):
        mate[j] = row_of[j]
        total += cost[row_of[j], j]
    return total


@njit(cache=True, nogil=True)
def sort_row(row: NDArray[np.float64], size: int) -> None:
    """Sort row[:size] into rising order in place, by insertion."""
    for i in range(1, size):
        value = row[i]
        j = i - 1
        while j >= 0 and row[j] > value:
            row[j + 1] = row[j]
            j -= 1
        row[j + 1] = value


@njit(cache=True, nogil=True)
def node_table(
    flow: NDArray[np.float64],
    distance: NDArray[np.float64],
    price: NDArray[np.float64],
    facility: NDArray[np.int64],
    location: NDArray[np.int64],
    size: int,
    rising: NDArray[np.float64],
    falling: NDArray[np.float64],
    table: NDArray[np.float64],
) -> None:
    """Fill table[:size, :size]: what a free facility pays at a free location at least.

    price[i, k] holds the linear cost and the flows to fixed facilities; the flows among the free
    ones count half of the least scalar product (Gilmore 1962, Lawler 1963).
    """
    for a in range(size):
        count = 0
        for b in range(size):
            if b != a:
                rising[a, count] = flow[facility[a], facility[b]]
                falling[a, count] = distance[location[a], location[b]]
                count += 1
        sort_row(rising[a], count)
        sort_row(falling[a], count)
    for a in range(size):
        for c in range(size):
            least = 0.0
            for b in range(size - 1):
                least += rising[a, b] * falling[c, size - 2 - b]
            table[a, c] = price[facility[a], location[c]] + 0.5 * least


@njit(cache=True, nogil=True)
def search(
    flow: NDArray[np.float64],
    distance: NDArray[np.float64],
    linear: NDArray[np.float64],
    roots: NDArray[np.int64],
    best: NDArray[np.int64],
    value: NDArray[np.float64],
    step: float,
    state_level: NDArray[np.int64],
    chosen: NDArray[np.int64],
    cursor: NDArray[np.int64],
    children: NDArray[np.int64],
    number: NDArray[np.int64],
    bounds: NDArray[np.float64],
    prices: NDArray[np.float64],
    nodes: int,
) -> int:
    """Continue a depth-first search for at most `nodes` nodes; return how many were visited.

    At each level the row or column of the assignment problem with the largest sum of reduced
    costs is branched on: its facility goes to every free location, or its location takes every
    free facility, the cheapest bound first. A child whose parent's bound plus reduced cost is no
    better than the incumbent by `step` is never opened.

    Parameters
    ----------
    flow, distance, linear
        (n, n) symmetric, zero diagonals; cost = Σ_i linear[i, p_i] + Σ_{i<j} flow · distance.
    roots
        Locations that the first facility needs to be tried at (one of each orbit).
    best, value
        (n,) best permutation and (1,) its cost, updated.
    step
        Costs are multiples of it, or 0.
    state_level, chosen, cursor, children, number, bounds, prices
        The stack, kept between calls: (1,) level, (levels, 2) the assignment made at each level,
        (levels,) next child, (levels, n, 2) and (levels,) children, (levels, n) their bounds,
        (levels, n, n) prices. Level −1 means finished; start with level 0 and number[0] = −1.
    """
    n = flow.shape[0]
    rising, falling, table = np.empty((n, n)), np.empty((n, n)), np.empty((n, n))
    u, v, mate = np.empty(n), np.empty(n), np.empty(n, np.int64)
    facility, location = np.empty(n, np.int64), np.empty(n, np.int64)
    taken_facility, taken_location = np.zeros(n, np.bool_), np.zeros(n, np.bool_)
    visited = 0
    level = state_level[0]
    for k in range(level):
        taken_facility[chosen[k, 0]] = True
        taken_location[chosen[k, 1]] = True
    slack = 1e-9 * max(1.0, abs(value[0]))
    while level >= 0 and visited < nodes:
        if number[level] < 0:  # open the node
            visited += 1
            size = 0
            for i in range(n):
                if not taken_facility[i]:
                    facility[size] = i
                    size += 1
            size = 0
            for k in range(n):
                if not taken_location[k]:
                    location[size] = k
                    size += 1
            base = 0.0
            for k in range(level):
                base += bounds[k, n]
            price = prices[level]
            node_table(flow, distance, price, facility, location, size, rising, falling, table)
            bound = base + assignment(table, size, u, v, mate)
            cursor[level] = 0
            number[level] = 0
            if bound <= value[0] - max(step, slack) + (slack if step > 0 else 0.0):
                if size <= 2:
                    # with one or two left the assignments are few: price them exactly
                    for turn in range(size):
                        total = base
                        if size == 1:
                            total += price[facility[0], location[0]]
                        else:
                            total += price[facility[0], location[turn]]
                            total += price[facility[1], location[1 - turn]]
                            total += (
                                flow[facility[0], facility[1]]
                                * (distance[location[0], location[1]])
                            )
                        if total < value[0] - slack:
                            value[0] = total
                            for k in range(level):
                                best[chosen[k, 0]] = chosen[k, 1]
                            best[facility[0]] = location[turn]
                            if size == 2:
                                best[facility[1]] = location[1 - turn]
                else:
                    by_row, at, largest = True, 0, -1.0
                    if level > 0:
                        for a in range(size):
                            in_row, in_column = 0.0, 0.0
                            for c in range(size):
                                in_row += table[a, c] - u[a] - v[c]
                                in_column += table[c, a] - u[c] - v[a]
                            if in_row > largest:
                                by_row, at, largest = True, a, in_row
                            if in_column > largest:
                                by_row, at, largest = False, a, in_column
                    count = 0
                    for c in range(size):
                        a, b = (at, c) if by_row else (c, at)
                        if level == 0 and not roots[location[b]]:
                            continue
                        child = bound + table[a, b] - u[a] - v[b]
                        if child > value[0] - max(step, slack) + (slack if step > 0 else 0.0):
                            continue
                        place = count
                        while place > 0 and bounds[level, place - 1] > child:
                            bounds[level, place] = bounds[level, place - 1]
                            children[level, place, 0] = children[level, place - 1, 0]
                            children[level, place, 1] = children[level, place - 1, 1]
                            place -= 1
                        bounds[level, place] = child
                        children[level, place, 0] = facility[a]
                        children[level, place, 1] = location[b]
                        count += 1
                    number[level] = count
        if cursor[level] >= number[level]:  # done with the node
            number[level] = -1
            level -= 1
            if level >= 0:
                taken_facility[chosen[level, 0]] = False
                taken_location[chosen[level, 1]] = False
            continue
        at = cursor[level]
        cursor[level] += 1
        if bounds[level, at] > value[0] - max(step, slack) + (slack if step > 0 else 0.0):
            continue
        i, k = children[level, at, 0], children[level, at, 1]
        chosen[level, 0], chosen[level, 1] = i, k
        taken_facility[i] = True
        taken_location[k] = True
        bounds[level, n] = prices[level, i, k]
        for a in range(n):
            for c in range(n):
                prices[level + 1, a, c] = prices[level, a, c] + flow[i, a] * distance[k, c]
        level += 1
        number[level] = -1
    state_level[0] = level
    return visited
