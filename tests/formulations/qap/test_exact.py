"""Branch and bound against enumeration, and its pieces against SciPy."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment

from moeplace.errors import InputError
from moeplace.formulations.qap import solve_qap_exact
from moeplace.formulations.qap.branch_kernels import assignment
from moeplace.formulations.qap.exact import first_of_orbits
from moeplace.formulations.qap.qaplib import read_qaplib, read_qaplib_value


def least_cost(flow, distance):
    """Return the optimum over all permutations."""
    every = np.array(list(permutations(range(len(flow)))))
    chunks = np.array_split(every, 40)
    return min(float((flow * distance[p[:, :, None], p[:, None, :]]).sum((1, 2)).min())
               for p in chunks)  # fmt: skip


def test_assignment_kernel_is_scipys():
    """Value, matching and dual feasibility."""
    for seed in range(20):
        rng = np.random.default_rng(seed)
        size = int(rng.integers(1, 9))
        cost = np.zeros((10, 10))
        cost[:size, :size] = rng.integers(-5, 20, (size, size))
        u, v, mate = np.empty(10), np.empty(10), np.empty(10, np.int64)
        value = assignment(cost, size, u, v, mate)
        part = cost[:size, :size]
        assert value == pytest.approx(part[linear_sum_assignment(part)].sum())
        assert (part - u[:size, None] - v[None, :size] >= -1e-9).all()
        assert u[:size].sum() + v[:size].sum() == pytest.approx(value)
        assert sorted(mate[:size]) == list(range(size))


@pytest.mark.parametrize("seed", range(6))
def test_optimum_of_enumeration(seed):
    """Whole and fractional, symmetric or half symmetric, with and without a diagonal."""
    rng = np.random.default_rng(seed)
    n = 9 if seed == 0 else 8 + seed % 2
    flow = rng.integers(0, 10, (n, n)).astype(float)
    distance = rng.integers(0, 10, (n, n)).astype(float)
    distance += distance.T
    if seed % 3 == 0:
        place = np.arange(n) % 3, np.arange(n) // 3
        distance = sum(np.abs(p[:, None] - p[None, :]) for p in place).astype(float)
    if seed % 2:
        flow += rng.random((n, n))
    else:
        np.fill_diagonal(flow, 0.0)
    found = solve_qap_exact(flow, distance)
    assert found.cost == pytest.approx(least_cost(flow, distance), rel=1e-12)
    assert found.status == "optimal"
    assert found.lower_bound == found.cost
    again = (flow * distance[np.ix_(found.permutation, found.permutation)]).sum()
    assert again == pytest.approx(found.cost)


def test_one_location_of_each_orbit():
    """A 3 x 4 grid has four orbits of corners, edges and insides; a line of 5 has three."""
    y, x = np.divmod(np.arange(12), 4)
    grid = np.abs(y[:, None] - y) + np.abs(x[:, None] - x)
    np.testing.assert_array_equal(np.flatnonzero(first_of_orbits(grid.astype(float))), [0, 1, 4, 5])
    line = np.abs(np.arange(5)[:, None] - np.arange(5)).astype(float)
    assert first_of_orbits(line).sum() == 3
    assert first_of_orbits(np.random.default_rng(0).random((6, 6))).sum() == 6


def test_out_of_time_keeps_the_search_bound():
    """Stopped early the answer is feasible and the bound below it."""
    rng = np.random.default_rng(1)
    flow, distance = rng.integers(0, 100, (2, 14, 14)).astype(float)
    found = solve_qap_exact(flow, distance + distance.T, time_limit_s=1e-6)
    assert found.status == "feasible"
    assert found.lower_bound < found.cost


def test_what_it_does_not_take_is_refused():
    """Two asymmetric matrices, too many facilities."""
    rng = np.random.default_rng(0)
    with pytest.raises(InputError, match="symmetric"):
        solve_qap_exact(rng.random((9, 9)), rng.random((9, 9)))
    with pytest.raises(InputError, match="at most"):
        solve_qap_exact(np.ones((40, 40)), np.ones((40, 40)))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["nug12", "tai12a", "nug15"])
def test_published_optima(shared_data, name):
    """The proven optimum is QAPLIB's."""
    data = shared_data / "qaplib" / f"{name}.dat"
    found = solve_qap_exact(*read_qaplib(data), time_limit_s=None)
    assert found.status == "optimal"
    assert found.cost == read_qaplib_value(data.with_suffix(".sln"))
