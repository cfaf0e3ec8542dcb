"""Lower bounds: Gilmore–Lawler, projection, and a split between them improved by ascent."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from moeplace.formulations.qap.split_bound import SplitBound

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from moeplace.formulations.qap.budget import Budget
    from moeplace.formulations.qap.instance import Instance

ROUNDING = 1e-14
"""Share of n × the sizes involved that is given away: eigenvalues and sums are rounded."""

FIRST_ROUNDS = 30
"""Rounds of ascent before the better of both roles goes on alone."""

MAX_ROUNDS = 1500
"""Rounds of ascent in all; the bound hardly moves after them."""

ROUND_ENTRIES = 3e8
"""Rounds × n³ where no clock may end the ascent."""

GILMORE_LAWLER_S, SPLIT_S = 1e-9, 1e-8
"""Seconds, divided by n³, that the bounds take at least; they are left out with less."""


class QapBound(NamedTuple):
    """A proven lower bound and the theorem behind it."""

    value: float
    method: str


def lower_bound(instance: Instance, incumbent: float, budget: Budget) -> QapBound | None:
    """Return the best bound that `budget` allows, None if there is not even time for one.

    Parameters
    ----------
    instance
        The problem.
    incumbent
        Cost of some permutation; it only sets the length of steps.
    budget
        Seconds, and rounds of ascent as its iterations.
    """
    from threadpoolctl import threadpool_limits

    if budget.seconds() < GILMORE_LAWLER_S * instance.size**3:
        return None
    with threadpool_limits(1, "blas"):  # at this size threads only get in each other's way
        best = gilmore_lawler(instance)
        if not instance.symmetric or budget.seconds() < SPLIT_S * instance.size**3:
            return best
        return max(best, _split(instance, incumbent, budget))


def rounds_without_clock(size: int) -> int:
    """Return a number of rounds that takes about a second whatever the size."""
    return int(np.clip(ROUND_ENTRIES / size**3, 1, MAX_ROUNDS))


def _split(instance: Instance, incumbent: float, budget: Budget) -> QapBound:
    """Return the split bound; the roles of the matrices matter, so both are tried."""
    best = SplitBound(instance, swapped=False)
    best.climb(incumbent, FIRST_ROUNDS, budget)
    if budget.left():
        other = SplitBound(instance, swapped=True)
        other.climb(incumbent, FIRST_ROUNDS, budget)
        best = max(best, other, key=lambda one: one.value)
    best.climb(incumbent, MAX_ROUNDS, budget)
    return _rounded(instance, best.value, best.size, best.method)


def gilmore_lawler(instance: Instance) -> QapBound:
    """Return the Gilmore–Lawler bound: an assignment with the least each pair could cost.

    Facility i at location k costs at least the scalar product of its flows in rising order with
    the distances of k in falling order; the cheapest assignment of these costs is a bound
    [1]_. Flows can be counted where they leave, where they arrive, or half and half; the largest
    counts.

    References
    ----------
    .. [1] P. C. Gilmore, "Optimal and suboptimal algorithms for the quadratic assignment
       problem", SIAM Journal 10 (1962); E. L. Lawler, Management Science 9 (1963).
    """
    from scipy.optimize import linear_sum_assignment

    flow, distance = instance.flow, instance.distance
    if instance.symmetric:
        tables = [0.5 * least_products(flow, distance)]
    else:
        leaving, arriving = least_products(flow, distance), least_products(flow.T, distance.T)
        tables = [leaving, arriving, 0.5 * (leaving + arriving)]
    best = -np.inf
    for table in tables:
        cost = table + instance.linear
        best = max(best, float(cost[linear_sum_assignment(cost)].sum()))
    return _rounded(instance, best, instance.magnitude, "gilmore-lawler")


def least_products(flow: NDArray[np.float64], distance: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return (n, n) the least scalar products of rows, diagonals left out, in any order."""
    rising = np.sort(off_diagonal(flow), axis=1)
    falling = np.sort(off_diagonal(distance), axis=1)[:, ::-1]
    products: NDArray[np.float64] = rising @ falling.T
    return products


def off_diagonal(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return (n, n − 1) the rows without their diagonal entries."""
    size = len(matrix)
    return matrix[~np.eye(size, dtype=bool)].reshape(size, size - 1)


def _rounded(instance: Instance, value: float, size: float, method: str) -> QapBound:
    """Give away what rounding may have added; costs are multiples of a unit, if one is known."""
    value -= ROUNDING * instance.size * size
    if instance.unit > 0.0:
        value = float(np.ceil(value / instance.unit) * instance.unit)
    return QapBound(value, method)
