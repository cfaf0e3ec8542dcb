from __future__ import annotations

import doctest
from itertools import permutations
from pathlib import Path

import numpy as np
import pytest

import moeplace
from moeplace.errors import InputError
from moeplace.formulations.qap import solve as solve_module
from moeplace.formulations.qap import walk
from moeplace.formulations.qap.qaplib import read_qaplib, read_qaplib_value
from moeplace.formulations.qap.solve import solve_qap

NUG12 = Path(__file__).parent / "data" / "nug12.dat"


@pytest.mark.parametrize("size", range(1, 8))
def test_small_ones_are_solved_and_proven(size, kind, matrices, definition, optimum):
    """Up to 7 facilities: the optimum of all permutations, with a bound equal to it."""
    flow, distance = matrices(size, kind, seed=size)
    result = solve_qap(flow, distance)
    assert result.cost == pytest.approx(optimum(flow, distance), abs=1e-12)
    assert result.cost == pytest.approx(definition(flow, distance, result.permutation), abs=1e-12)
    assert result.lower_bound == result.cost
    assert result.gap == 0.0
    assert result.status == "optimal"


@pytest.mark.parametrize("size", [2, 5, 6, 7])
def test_search_finds_the_optimum_of_small_ones(
    size, kind, matrices, definition, optimum, monkeypatch
):
    """The search itself, without enumeration, ends in the optimum too."""
    monkeypatch.setattr(solve_module, "MAX_SIZE", 0)
    for seed in range(4):
        flow, distance = matrices(size, kind, seed)
        result = solve_qap(flow, distance, time_limit_s=None, max_iterations=3000)
        assert sorted(result.permutation) == list(range(size))
        assert result.cost == pytest.approx(optimum(flow, distance), abs=1e-12)
        assert result.cost == pytest.approx(
            definition(flow, distance, result.permutation), abs=1e-12
        )
        assert result.lower_bound <= result.cost + 1e-12


def test_facility_i_goes_to_location_permutation_i():
    """One directed flow and one short directed distance: each end of the flow goes to its end."""
    flow = np.zeros((4, 4))
    flow[1, 2] = 5.0
    distance = np.full((4, 4), 9.0)
    distance[3, 0] = 2.0
    result = solve_qap(flow, distance)
    assert (result.permutation[1], result.permutation[2]) == (3, 0)
    assert result.cost == 10.0


def test_diagonals_count(monkeypatch):
    """Without flows between facilities the problem is an assignment of diagonals."""
    monkeypatch.setattr(solve_module, "MAX_SIZE", 0)
    size = 9
    own, place = np.arange(1.0, size + 1), np.arange(1.0, size + 1) ** 2
    result = solve_qap(np.diag(own), np.diag(place), time_limit_s=5.0)
    assert result.cost == own @ place[::-1]
    assert result.status == "optimal"


def test_nug12_reaches_its_optimum():
    """A public benchmark instance ends in its proven optimum 578, with a bound above 500."""
    flow, distance = read_qaplib(NUG12)
    result = solve_qap(flow, distance, time_limit_s=None, max_iterations=30_000)
    assert result.cost == 578.0
    assert 500.0 < result.lower_bound <= 578.0
    assert result.bound_method == "split"


def test_scale_does_not_matter():
    """Tiny and huge units give the same permutation and a bound in proportion."""
    flow, distance = read_qaplib(NUG12)
    results = [
        solve_qap(flow * unit, distance, time_limit_s=None, max_iterations=20_000)
        for unit in (1e-12, 1e12)
    ]
    for unit, result in zip((1e-12, 1e12), results, strict=True):
        assert result.cost == pytest.approx(578.0 * unit, rel=1e-12)
        assert 500.0 * unit < result.lower_bound <= 578.0 * unit * (1 + 1e-12)


def test_same_seed_and_iterations_give_the_same_answer(matrices, kind, monkeypatch):
    """Neither a second run nor other slices between looks at the clock change anything."""
    flow, distance = matrices(20, kind, seed=1)
    limits = {"time_limit_s": None, "max_iterations": 5000, "seed": 3}
    first = solve_qap(flow, distance, **limits)
    second = solve_qap(flow, distance, **limits)
    monkeypatch.setattr(walk, "SLICE", 2000.0)
    third = solve_qap(flow, distance, **limits)
    for other in (second, third):
        np.testing.assert_array_equal(other.permutation, first.permutation)
        assert (other.cost, other.lower_bound, other.iterations) == (
            first.cost,
            first.lower_bound,
            first.iterations,
        )


def test_iterations_are_kept(matrices):
    """No more iterations than asked for, up to one sweep of annealing."""
    flow, distance = matrices(20, "symmetric", seed=1)
    for most in (0, 1, 777):
        result = solve_qap(flow, distance, time_limit_s=None, max_iterations=most)
        assert result.iterations <= most + 5
        assert sorted(result.permutation) == list(range(20))


@pytest.mark.parametrize("size", [30, 300])
def test_time_limit_is_kept(size, matrices):
    """The limit holds for the whole call, the bound included, once the kernels are compiled."""
    flow, distance = matrices(size, "symmetric", seed=1)
    solve_qap(flow[:9, :9], distance[:9, :9], time_limit_s=None, max_iterations=1)
    result = solve_qap(flow, distance, time_limit_s=0.4)
    assert result.runtime_s > 0.3


def test_proof_ends_the_search():
    """Where every permutation costs the same the bound proves it and nothing is searched."""
    flow, distance = np.full((12, 12), 2.0), np.arange(144.0).reshape(12, 12)
    result = solve_qap(flow, distance + distance.T, time_limit_s=60.0)
    assert result.status == "optimal"
    assert result.cost == 2.0 * (distance + distance.T).sum()


def test_proof_ends_the_search_of_fractions_too():
    """Rounding of fractions does not keep a proof from being seen."""
    flow, distance = np.full((12, 12), 0.3), np.random.default_rng(0).random((12, 12))
    result = solve_qap(flow, distance + distance.T, time_limit_s=60.0)
    assert result.status == "optimal"


def test_inputs_are_not_changed(matrices):
    """The caller's arrays stay as they were, and integers and lists are accepted."""
    flow, distance = matrices(10, "asymmetric", seed=2)
    kept = flow.copy(), distance.copy()
    result = solve_qap(flow, distance, time_limit_s=None, max_iterations=500)
    as_lists = solve_qap(
        flow.astype(int).tolist(), distance.astype(np.int32), time_limit_s=None, max_iterations=500
    )
    np.testing.assert_array_equal(flow, kept[0])
    np.testing.assert_array_equal(distance, kept[1])
    assert as_lists.cost == result.cost


@pytest.mark.parametrize(
    ("flow", "distance", "says"),
    [
        (np.zeros((3, 2)), np.zeros((3, 3)), "square matrix, got 3 × 2"),
        (np.zeros((3, 3)), np.zeros((4, 4)), "3 × 3 but distance 4 × 4"),
        (np.zeros(3), np.zeros((3, 3)), "flow: must be a square matrix"),
        (np.zeros((0, 0)), np.zeros((0, 0)), "flow: must be a square matrix"),
        (np.zeros((2, 2)), [[0.0, np.nan], [1.0, 0.0]], r"distance\[0, 1\] is nan"),
        ([[0.0, np.inf], [1.0, 0.0]], np.zeros((2, 2)), r"flow\[0, 1\] is inf"),
        ([["a", "b"], ["c", "d"]], np.zeros((2, 2)), "flow: cannot be read"),
        (np.full((2, 2), 1e200), np.zeros((2, 2)), r"flow\[0, 0\] is 1e\+200: .* at most 1e\+100"),
    ],
)
def test_unusable_matrices_are_refused(flow, distance, says):
    """One line says which matrix is wrong, and where."""
    with pytest.raises(InputError, match=says):
        solve_qap(flow, distance)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"time_limit_s": None}, "max_iterations"),
        ({"time_limit_s": 0.0}, "time_limit_s"),
        ({"time_limit_s": float("nan")}, "time_limit_s"),
        ({"max_iterations": -1}, "max_iterations"),
        ({"seed": -1}, "seed"),
    ],
)
def test_unusable_limits_are_refused(options, says):
    """A search that would never end, or not begin, is refused."""
    with pytest.raises(InputError, match=says):
        solve_qap(np.zeros((3, 3)), np.zeros((3, 3)), **options)


def test_example_of_the_documentation():
    """The example in the docstring says what comes out."""
    finder, runner = doctest.DocTestFinder(), doctest.DocTestRunner()
    for example in finder.find(solve_qap, globs={"solve_qap": solve_qap}):
        assert example.examples
        assert runner.run(example).failed == 0


def test_extreme_sizes_are_computed_with(monkeypatch):
    """Entries as large as allowed, or without flows beside them, overflow nowhere."""
    monkeypatch.setattr(solve_module, "MAX_SIZE", 0)
    flow, distance = read_qaplib(NUG12)
    huge = solve_qap(flow * 1e97, distance * 1e98, time_limit_s=None, max_iterations=20_000)
    assert huge.cost == pytest.approx(578e195)
    assert solve_qap(0.0 * flow, distance * 1e98, time_limit_s=5.0).cost == 0.0


def test_public_names():
    """`moeplace.solve_qap` and `moeplace.QapResult` are these."""
    assert moeplace.solve_qap is solve_qap
    assert isinstance(solve_qap([[0]], [[0]]), moeplace.QapResult)


@pytest.mark.parametrize("name", ["chr25a", "bur26a", "els19", "tai25a", "tai30b"])
def test_hard_benchmarks_reach_their_optimum(name, shared_data):
    """Instances on which plain tabu search or annealing often fails."""
    flow, distance = read_qaplib(shared_data / "qaplib" / f"{name}.dat")
    best_known = read_qaplib_value(shared_data / "qaplib" / f"{name}.sln")
    result = solve_qap(flow, distance, time_limit_s=None, max_iterations=400_000)
    assert result.lower_bound <= best_known
    assert result.cost == best_known


@pytest.mark.slow
def test_all_benchmarks(shared_data):
    """Mean gap to the best known at most 0.2 %, worst 1.5 %, none up to 30 facilities."""
    gaps = []
    for file in sorted((shared_data / "qaplib").glob("*.dat")):
        flow, distance = read_qaplib(file)
        best_known = read_qaplib_value(file.with_suffix(".sln"))
        result = solve_qap(flow, distance, time_limit_s=10.0)
        assert result.lower_bound <= best_known
        gaps.append(result.cost / best_known - 1.0)
        assert len(flow) > 30 or gaps[-1] == 0.0, file.stem
    assert max(gaps) <= 0.015
    assert np.mean(gaps) <= 0.002


def test_enumeration_prices_all(matrices, definition):
    """The smallest of all costs, each by the definition."""
    flow, distance = matrices(4, "asymmetric", seed=5)
    costs = [definition(flow, distance, p) for p in permutations(range(4))]
    assert solve_qap(flow, distance).cost == min(costs)
