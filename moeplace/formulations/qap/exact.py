"""Proven optima of small quadratic assignment problems."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from moeplace.clock import monotonic
from moeplace.errors import InputError
from moeplace.formulations.qap.instance import make_instance
from moeplace.formulations.qap.result import QapResult
from moeplace.formulations.qap.solve import solve_qap

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from moeplace.formulations.qap.instance import Instance

MOST_FACILITIES = 32
START_ITERATIONS = 20_000  # of tabu search for the incumbent
NODES_PER_CALL = 2_000  # between two looks at the clock


def solve_qap_exact(
    flow: ArrayLike, distance: ArrayLike, *, time_limit_s: float | None = 60.0, seed: int = 0
) -> QapResult:
    """Assign facilities to locations at the least cost, with a proof, up to about 16 facilities.

    Depth-first branch and bound from the incumbent of :func:`solve_qap`, with the Gilmore–Lawler
    bound at every node, branching on the facility or location with the largest reduced costs.
    Locations that a symmetry of the distances maps onto each other are tried once for the first
    facility.

    Parameters
    ----------
    flow, distance
        (n, n) as for :func:`solve_qap`, n ≤ 32; one of them symmetric.
    time_limit_s
        Seconds, None for no limit.
    seed
        Of the search for the incumbent.

    Returns
    -------
    ``bound_method`` is ``branch-and-bound`` where the proof is complete; stopped by the limit, the
    bound is the one of :func:`solve_qap`. ``iterations`` counts nodes.

    Raises
    ------
    InputError
        If the matrices are not usable, both asymmetric, or too large.

    Examples
    --------
    >>> line = [[0, 1, 2], [1, 0, 1], [2, 1, 0]]
    >>> result = solve_qap_exact([[0, 3, 1], [3, 0, 0], [1, 0, 0]], line)
    >>> result.cost, result.status
    (8.0, 'optimal')
    """
    started = monotonic()
    instance = make_instance(flow, distance)
    if not instance.symmetric:
        raise InputError("solve_qap_exact: flow or distance must be symmetric; use solve_qap")
    if instance.size > MOST_FACILITIES:
        raise InputError(
            f"solve_qap_exact: {instance.size} facilities, at most {MOST_FACILITIES}; use solve_qap"
        )
    known = solve_qap(flow, distance, time_limit_s=None, seed=seed, max_iterations=START_ITERATIONS)
    if known.status == "optimal":
        return known
    deadline = np.inf if time_limit_s is None else started + time_limit_s
    permutation, nodes, proven = _branch_and_bound(instance, known, deadline)
    cost = instance.cost(permutation)
    return QapResult(
        permutation=permutation,
        cost=cost,
        lower_bound=cost if proven else known.lower_bound,
        bound_method="branch-and-bound" if proven else known.bound_method,
        iterations=nodes,
        runtime_s=monotonic() - started,
        seed=seed,
    )


def _branch_and_bound(
    instance: Instance, known: QapResult, deadline: float
) -> tuple[NDArray[np.int64], int, bool]:
    """Return the best permutation, nodes visited and whether the search was complete."""
    from moeplace.formulations.qap.branch_kernels import search

    n = instance.size
    first = np.argsort(-np.abs(instance.flow).sum(axis=1), kind="stable")  # the busiest decides
    flow = np.ascontiguousarray(instance.flow[np.ix_(first, first)])
    linear = np.ascontiguousarray(instance.linear[first])
    best = known.permutation[first].copy()
    value = np.array([known.cost])
    roots = np.ones(n, np.int64)
    if not (linear != linear[:, :1]).any():
        roots = first_of_orbits(instance.distance)
    level = np.zeros(1, np.int64)
    chosen, cursor = np.zeros((n + 1, 2), np.int64), np.zeros(n + 1, np.int64)
    children, number = np.zeros((n + 1, n, 2), np.int64), np.full(n + 1, -1, np.int64)
    bounds, prices = np.zeros((n + 1, n + 1)), np.zeros((n + 1, n, n))
    prices[0] = linear
    nodes = 0
    while level[0] >= 0 and monotonic() < deadline:
        nodes += search(
            flow, instance.distance, linear, roots, best, value, instance.unit,
            level, chosen, cursor, children, number, bounds, prices, NODES_PER_CALL,
        )  # fmt: skip
    permutation = np.empty(n, np.int64)
    permutation[first] = best
    return permutation, nodes, bool(level[0] < 0)


def first_of_orbits(distance: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return (n,) 1 for one location of each class that symmetries map onto each other, else 0.

    A symmetry is a permutation s with distance[s(k), s(l)] = distance[k, l]; found by
    backtracking over locations in order.
    """
    n = len(distance)
    first = np.ones(n, np.int64)
    rows = np.sort(distance, axis=1)
    for location in range(1, n):
        for earlier in np.flatnonzero(first[:location]):
            same = (rows[location] == rows[earlier]).all()
            if same and _extend(distance, [int(earlier)], int(location)):
                first[location] = 0
                break
    return first


def _extend(distance: NDArray[np.float64], moved: list[int], target: int) -> bool:
    """Return whether a symmetry maps moved[0] to `target`; tries at most 20,000 steps."""
    n = len(distance)
    order = [moved[0], *(k for k in range(n) if k != moved[0])]
    image, used, steps = [target], {target}, 0
    stack = [iter(range(n))]
    while stack:
        steps += 1
        if steps > 20_000:
            return False
        at = len(image)
        if at == n:
            return True
        known = distance[order[at], order[:at]]
        for candidate in stack[-1]:
            if candidate not in used and (distance[candidate, image] == known).all():
                image.append(candidate)
                used.add(candidate)
                stack.append(iter(range(n)))
                break
        else:
            stack.pop()
            if stack:
                used.discard(image.pop())
    return False
