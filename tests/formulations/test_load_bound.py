from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moeplace.errors import InfeasibleError
from moeplace.formulations.bounds.load import load_bound, max_rank_pairs_bound
from moeplace.formulations.registry import load_solver
from moeplace.formulations.solver import Run
from moeplace.placement import evaluate

HEURISTICS = ("contiguous", "round-robin", "random", "eplb", "eplb-global", "lpt")


def test_each_theorem_wins_somewhere():
    """Mean, largest replica, pigeonhole and crowd each give the value by hand."""
    mean = max_rank_pairs_bound([3, 3, 3, 3], 2, 2, 4)
    assert mean.value[0] == pytest.approx(6)
    replica = max_rank_pairs_bound([12, 1, 1, 1], 4, 2, 5)
    assert (replica.value[0], replica.which) == (pytest.approx(6), ("replica",))
    # Two ranks with exactly three experts each: the largest and the two smallest others.
    full = max_rank_pairs_bound([9, 4, 2, 1, 1, 1], 2, 3, 6)
    assert (full.value[0], full.which) == (pytest.approx(11), ("pigeonhole",))
    # Seven equal experts on three ranks: one has three of them.
    many = max_rank_pairs_bound([5] * 7, 3, 4, 7)
    assert (many.value[0], many.which) == (pytest.approx(15), ("pigeonhole",))
    # The ranks of the two tens also hold two others, at least the one and the four.
    crowded = max_rank_pairs_bound([10, 10, 6, 5, 4, 1], 3, 2, 6)
    assert (crowded.value[0], crowded.which) == (pytest.approx(12.5), ("crowd",))


def test_pigeonhole_needs_single_replicas():
    """With a redundant replica the largest expert may be split, so those bounds are left out."""
    redundant = max_rank_pairs_bound([9, 4, 2, 1, 1, 1], 2, 4, 7).by_name
    assert redundant.keys() == {"mean", "replica"}
    # Slots for no more than the experts: redundancy is allowed but impossible.
    assert "pigeonhole" in max_rank_pairs_bound([9, 4, 2, 1, 1, 1], 2, 3, 7).by_name


def test_layers_are_independent():
    """Rows of a table give what they give alone."""
    load = np.array([[5.0, 1, 1, 1], [2, 2, 2, 2]])
    together = max_rank_pairs_bound(load, 2, 3, 5)
    alone = [max_rank_pairs_bound(row, 2, 3, 5).value[0] for row in load]
    assert together.value.tolist() == alone
    assert together.total == sum(alone)


def test_fewer_replicas_than_experts_is_refused():
    """A layer that cannot be placed has no bound."""
    with pytest.raises(InfeasibleError):
        max_rank_pairs_bound([1, 1, 1], 2, 1, 3)


def least_maximum(load, ranks, slots):
    """Smallest possible load of the fullest rank without redundancy, by trying every map."""
    best = np.inf
    for ranks_of in itertools.product(range(ranks), repeat=len(load)):
        if np.bincount(ranks_of, minlength=ranks).max() <= slots:
            best = min(best, np.bincount(ranks_of, weights=load).max())
    return best


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.data())
def test_bounds_of_maps_without_redundancy(data):
    """No map of single replicas beats any of the bounds, full and loose slots alike."""
    experts, ranks = data.draw(st.integers(1, 7)), data.draw(st.integers(1, 3))
    slots = data.draw(st.integers(-(-experts // ranks), experts))
    load = data.draw(st.lists(st.integers(0, 30), min_size=experts, max_size=experts))
    bounds = max_rank_pairs_bound(load, ranks, slots, experts).by_name
    assert bounds.keys() == {"mean", "replica", "pigeonhole", "crowd"}
    optimum = least_maximum(load, ranks, slots)
    for name, value in bounds.items():
        assert value[0] <= optimum, name


@settings(max_examples=40, deadline=None, derandomize=True)
@given(st.data())
def test_no_heuristic_beats_the_bound(make_tiny, data):
    """The bound lies below every baseline and heuristic, EPLB's duplicates included."""
    experts, ranks = data.draw(st.integers(1, 9)), data.draw(st.integers(1, 5))
    redundant = data.draw(st.integers(0, min(6, experts * (ranks - 1))))
    values = st.one_of(st.integers(0, 20), st.floats(0, 1e6))
    load = data.draw(st.lists(values, min_size=experts, max_size=experts).filter(any))
    problem = make_tiny([load], ranks, redundant=redundant)
    bound = load_bound(problem).total
    for name in HEURISTICS:
        placement = load_solver(name)(problem, Run(), None).placement
        assert bound <= evaluate(problem, placement).objective, name


@settings(max_examples=30, deadline=None, derandomize=True)
@given(st.permutations(range(8)), st.sampled_from([1.0, 3.0, 1e-6]))
def test_bound_and_lpt_ignore_names_and_units(make_tiny, order, factor):
    """Renaming experts or scaling loads (all different) changes no rank load."""
    load = np.array([1.0, 2.1, 4.3, 8.7, 16.9, 33.1, 64.7, 128.3])
    solver = load_solver("lpt")
    values = []
    for q in (load, load[list(order)] * factor):
        problem = make_tiny([q], 3, redundant=2)
        score = evaluate(problem, solver(problem, Run(), None).placement)
        values.append((load_bound(problem).total, *np.sort(score.rank_load[0])))
    np.testing.assert_allclose(values[0], values[1])
