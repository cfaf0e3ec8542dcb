"""Annealing on the ranks that tokens touch."""

from __future__ import annotations

import numpy as np
import pytest

from moeplace.formulations.heuristics.copies_search import (
    CopiesTask,
    _anneal,
    copies_tasks,
    counts_ranks,
    search_layer,
)
from moeplace.formulations.heuristics.portfolio import auto
from moeplace.formulations.heuristics.simple import contiguous
from moeplace.formulations.heuristics.tables import to_placement, without_duplicates
from moeplace.formulations.solver import Run
from moeplace.placement import evaluate, layer_imbalance, make_problem, violations
from moeplace.traces import RoutingTrace, Workload
from tests.reference.instances import tiny_mesh, tiny_model


def problem(dispatch="cover", redundant=4, objective="copies", max_load=None, seed=5, layers=1):
    """Return 12 experts, top 3, on 2x3 dies; hidden triples of experts fire together."""
    rng = np.random.default_rng(seed)
    triples = rng.permutation(12).reshape(4, 3)
    popularity = rng.dirichlet(np.full(12, 0.7))
    ids = np.empty((150, layers, 3), np.int64)
    for token in range(150):
        for layer in range(layers):
            row = triples[rng.integers(4)].copy()
            if rng.random() < 0.5:
                row = rng.choice(12, 3, replace=False, p=0.8 * popularity + 0.2 / 12)
            ids[token, layer] = row
    workload = Workload.from_trace(RoutingTrace.from_arrays(ids, num_experts=12))
    return make_problem(
        tiny_model(12, 3, layers),
        tiny_mesh(2, 3),
        workload,
        redundant,
        objective,
        "rank",
        dispatch,
        max_load=max_load,
    )


def task_of(p) -> CopiesTask:
    """Return the first layer's search from the contiguous map."""
    start = without_duplicates(p, contiguous(p, Run(), None).placement)
    return copies_tasks(p, Run(), start.expert_of_slot[None])[0]


@pytest.mark.parametrize("max_load", [None, 1.15])
@pytest.mark.parametrize("objective", ["copies", "hops"])
@pytest.mark.parametrize("dispatch", ["even", "cover"])
def test_incremental_values_are_the_evaluated_ones(dispatch, objective, max_load):
    """After hundreds of moves the running cost and loads are those of evaluate()."""
    for seed in range(3):
        p = problem(dispatch, objective=objective, max_load=max_load, seed=seed)
        task = task_of(p)
        for proposals in (0, 50, 2000):
            found = _anneal(task, task.starts[0].copy(), proposals, 0.0, 1.0)
            placement = to_placement(p, found.row[None])
            assert not [v for v in violations(p, placement) if "mean rank loads" not in v]
            score = evaluate(p, placement)
            base = _anneal(task, task.starts[0].copy(), 0, 0.0, 1.0).cost
            start = evaluate(p, to_placement(p, task.starts[0].reshape(1, -1)))
            if dispatch == "even" or objective == "copies":  # hops of equals depend on the split
                assert found.cost / base == pytest.approx(
                    score.objective / start.objective, rel=1e-9
                )
            if max_load is not None:
                load = score.rank_load[0] / score.rank_load.sum() * 3
                tolerance = 1e-9 if dispatch == "even" else 1e-6
                np.testing.assert_allclose(found.load, load, atol=tolerance)


@pytest.mark.parametrize("dispatch", ["even", "cover"])
def test_the_limit_on_load_is_kept(dispatch):
    """The result keeps the limit although it costs copies; without it a rank is fuller."""
    free = problem(dispatch, max_load=None)
    tight = problem(dispatch, max_load=1.1)
    unlimited = auto(free, Run(), None).placement
    kept = auto(tight, Run(), None).placement
    assert violations(tight, kept) == []
    assert layer_imbalance(free, unlimited)[0] > 1.1
    assert evaluate(free, unlimited).objective <= evaluate(free, kept).objective


def test_replicas_under_cover_spare_ranks():
    """Four redundant experts touch fewer ranks than none, and never more than contiguous."""
    values = []
    for redundant in (0, 4):
        p = problem(redundant=redundant)
        placement = auto(p, Run(), None).placement
        values.append(evaluate(p, placement).ranks_per_token)
        start = contiguous(p, Run(), None).placement
        assert values[-1] <= evaluate(p, start).ranks_per_token
    assert values[1] < values[0] - 0.05


def test_same_seed_same_map():
    """Two runs without a time limit agree slot by slot."""
    p = problem(max_load=1.2)
    first, second = (search_layer(task_of(p)) for _ in range(2))
    np.testing.assert_array_equal(first.row, second.row)


def test_only_where_ranks_are_what_counts():
    """Other objectives, kernels and policies keep the general descent."""
    assert counts_ranks(problem())
    assert not counts_ranks(problem(objective="time"))
    assert not counts_ranks(problem(dispatch="nearest"))
    assert counts_ranks(problem(dispatch="nearest", redundant=0))
    assert not counts_ranks(problem().replace(dedup_choice="none"))
    assert not counts_ranks(problem().replace(max_moves=3))
