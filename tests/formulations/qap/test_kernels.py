from __future__ import annotations

import numpy as np
import pytest

from moeplace.formulations.qap import kernels
from moeplace.formulations.qap.instance import make_instance
from moeplace.formulations.qap.random_kernels import cross, draw_below
from moeplace.formulations.qap.walk import empty_state, matrices_of

SIZE = 9


@pytest.fixture
def start(matrices, kind):
    """Return matrices as given, an instance, its kernel form and a prepared state."""
    flow, distance = matrices(SIZE, kind, seed=7)
    instance = make_instance(flow, distance)
    random = np.random.default_rng(1)
    state = empty_state(SIZE, random)
    state.perm[:] = random.permutation(SIZE)
    made = matrices_of(instance)
    kernels.prepare(made, state)
    return flow, distance, made, state


def swaps_by_definition(flow, distance, permutation, definition):
    now = definition(flow, distance, permutation)
    table = np.zeros((SIZE, SIZE))
    for a in range(SIZE):
        for b in range(a + 1, SIZE):
            other = permutation.copy()
            other[a], other[b] = other[b], other[a]
            table[a, b] = definition(flow, distance, other) - now
    return table


def test_cost_is_the_definition(start, definition):
    """The compiled cost, pairs counted once where possible, is the double sum."""
    flow, distance, made, state = start
    expected = definition(flow, distance, state.perm)
    assert kernels.total_cost(made, state.perm) == pytest.approx(expected, abs=1e-12)


def test_tabu_search_keeps_its_tables_right(start, definition):
    """After every iteration the cost and the change by any swap are those of the definition."""
    flow, distance, made, state = start
    for iteration in range(1, 40):
        kernels.tabu_search(made, state, iteration, 1, 3, 4)
        assert sorted(state.perm) == list(range(SIZE))
        expected = definition(flow, distance, state.perm)
        assert state.value[0] == pytest.approx(expected, abs=1e-9)
        np.testing.assert_allclose(
            np.triu(state.delta, 1),
            swaps_by_definition(flow, distance, state.perm, definition),
            atol=1e-9,
        )
        best = definition(flow, distance, state.best_perm)
        assert state.value[1] == pytest.approx(best, abs=1e-9)


def test_whole_numbers_stay_exact(matrices, definition):
    """With whole numbers nothing drifts: after 20,000 iterations the cost is exact."""
    flow, distance = matrices(SIZE, "asymmetric", seed=1)
    state, made = empty_state(SIZE, np.random.default_rng(0)), None
    made = matrices_of(make_instance(flow, distance))
    kernels.prepare(made, state)
    kernels.tabu_search(made, state, 1, 20_000, 2, 7)
    assert state.value[0] == definition(flow, distance, state.perm)
    assert state.value[1] == definition(flow, distance, state.best_perm)


@pytest.mark.parametrize("tabled", [True, False])
def test_annealing_keeps_its_cost_right(start, definition, tabled):
    """At temperatures that accept much, little and only improvements the cost is right."""
    flow, distance, made, state = start
    for temperature in (1e3, 10.0, 1.0, 0.1, 0.0):
        accepted = kernels.anneal_rows(made, state, 0, SIZE - 1, temperature, tabled)
        assert 0 <= accepted <= SIZE * (SIZE - 1) / 2
        assert sorted(state.perm) == list(range(SIZE))
        expected = definition(flow, distance, state.perm)
        assert state.value[0] == pytest.approx(expected, abs=1e-9)
        assert state.value[1] <= state.value[0] + 1e-9


def test_annealing_with_and_without_table_is_one(matrices):
    """Both ways to price a swap make the same walk on whole numbers."""
    made = matrices_of(make_instance(*matrices(SIZE, "symmetric", seed=4)))
    ends = []
    for tabled in (True, False):
        state = empty_state(SIZE, np.random.default_rng(5))
        kernels.prepare(made, state)
        for temperature in (300.0, 100.0, 30.0):
            kernels.anneal_rows(made, state, 0, SIZE - 1, temperature, tabled)
        ends.append(state.perm.copy())
    np.testing.assert_array_equal(*ends)


def test_frozen_annealing_ends_in_a_local_optimum(start):
    """At temperature 0 no swap improves any more after some sweeps."""
    _, _, made, state = start
    for _ in range(30):
        kernels.anneal_rows(made, state, 0, SIZE - 1, 0.0, True)
    kernels.prepare(made, state)
    assert np.triu(state.delta, 1).min() >= -1e-9


def test_children_keep_what_their_parents_share():
    """A child is a permutation and has what both parents have; both parents leave traces."""
    random, state = np.random.default_rng(2), np.array([99], np.uint64)
    from_one = from_two = 0
    for _ in range(50):
        one, two = random.permutation(12), random.permutation(12)
        two = np.concatenate([one[:4], [location for location in two if location not in one[:4]]])
        child = cross(one, two, state)
        assert sorted(child) == list(range(12))
        np.testing.assert_array_equal(child[:4], one[:4])
        from_one += int((child == one)[4:].sum())
        from_two += int((child == two)[4:].sum())
    assert min(from_one, from_two) > 100


def test_random_numbers_are_spread_evenly():
    """Each of 7 values is drawn about as often as any other."""
    state = np.array([12345], np.uint64)
    counts = np.bincount([draw_below(state, 7) for _ in range(7000)], minlength=7)
    assert counts.size == 7
    assert abs(counts - 1000).max() < 150
