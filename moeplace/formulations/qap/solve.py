from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from moeplace.clock import monotonic
from moeplace.errors import InputError
from moeplace.formulations.qap.budget import Budget
from moeplace.formulations.qap.enumerate_all import MAX_SIZE, best_of_all
from moeplace.formulations.qap.instance import make_instance
from moeplace.formulations.qap.result import QapResult

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from moeplace.formulations.qap.instance import Instance

BOUND_SHARE = 0.15
"""Share of the time limit that the bound may take."""

LEAST_SHARE = 0.5
"""Share of the time limit left for the work itself where kernels had to be compiled first."""


def solve_qap(
    flow: ArrayLike,
    distance: ArrayLike,
    *,
    time_limit_s: float | None = 10.0,
    seed: int = 0,
    max_iterations: int | None = None,
) -> QapResult:
    """Assign facilities to locations so that Σ flow[i, j] · distance[p_i, p_j] is small.

    The quadratic assignment problem, for example clusters of experts on the dies of a mesh. Up to
    8 facilities all permutations are tried. Otherwise annealing, tabu search and crossover take
    turns on one core until the limit, or until the lower bound is reached.

    Parameters
    ----------
    flow
        (n, n) what goes from facility i to facility j; need not be symmetric; any sign.
    distance
        (n, n) cost of a unit of flow from location k to location l; need not be symmetric; any
        sign. Diagonals count: flow[i, i] · distance[p_i, p_i].
    time_limit_s
        Seconds, the lower bound included; None to stop at `max_iterations` alone. The first call
        on a machine also compiles the kernels, which takes longer than small limits.
    seed
        Seed of the random numbers, at least 0.
    max_iterations
        Iterations at most. With it, and as long as the time limit is not reached, the same seed
        gives the same answer.

    Returns
    -------
    Facility i goes to location ``permutation[i]``; with the cost, a lower bound and its gap.

    Raises
    ------
    InputError
        If the matrices are not square, finite and of one size, or a limit or seed is unusable.

    Notes
    -----
    Whole numbers are computed with exactly as long as Σ |flow| · max |distance| is below 2^53.

    Examples
    --------
    >>> result = solve_qap([[0, 3, 1], [3, 0, 0], [1, 0, 0]], [[0, 1, 2], [1, 0, 1], [2, 1, 0]])
    >>> result.cost, result.permutation.tolist()  # facility 0 talks to both others: the middle
    (8.0, [1, 0, 2])
    """
    start = monotonic()
    instance = make_instance(flow, distance)
    _check_limits(time_limit_s, seed, max_iterations)
    if instance.size <= MAX_SIZE:
        permutation = best_of_all(instance)
        cost = instance.cost(permutation)
        return QapResult(permutation, cost, cost, "enumeration", 0, monotonic() - start, seed)
    return _search(instance, time_limit_s, seed, max_iterations, start)


def _search(
    instance: Instance,
    time_limit_s: float | None,
    seed: int,
    max_iterations: int | None,
    start: float,
) -> QapResult:
    from moeplace.formulations.qap.bounds import MAX_ROUNDS, lower_bound, rounds_without_clock
    from moeplace.formulations.qap.search import run_search
    from moeplace.formulations.qap.walk import Walker, compile_kernels

    compile_kernels()
    limit = np.inf if time_limit_s is None else time_limit_s
    deadline = max(start + limit, monotonic() + LEAST_SHARE * limit)
    budget = Budget(deadline, max_iterations)
    walker = Walker(instance, budget, seed)
    walker.quench(walker.random.permutation(instance.size))
    rounds = MAX_ROUNDS if max_iterations is None else rounds_without_clock(instance.size)
    bound_deadline = min(deadline, monotonic() + BOUND_SHARE * limit)
    bound = lower_bound(instance, walker.best_cost, Budget(bound_deadline, rounds))
    if bound is not None:
        walker.target = bound.value
    run_search(walker)
    return QapResult(
        permutation=walker.best,
        cost=instance.cost(walker.best),
        lower_bound=None if bound is None else bound.value,
        bound_method="" if bound is None else bound.method,
        iterations=budget.spent,
        runtime_s=monotonic() - start,
        seed=seed,
    )


def _check_limits(time_limit_s: float | None, seed: int, max_iterations: int | None) -> None:
    if time_limit_s is None and max_iterations is None:
        raise InputError("solve_qap: give time_limit_s or max_iterations, or it never ends")
    if time_limit_s is not None and not time_limit_s > 0.0:
        raise InputError(f"time_limit_s is {time_limit_s}: must be above 0")
    if max_iterations is not None and max_iterations < 0:
        raise InputError(f"max_iterations is {max_iterations}: must be at least 0")
    if seed < 0:
        raise InputError(f"seed is {seed}: must be at least 0")
