"""Touched parts: never above the least over all partitions, with caps, sizes and replicas."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import numpy as np
import pytest

from moeplace.formulations.bounds import lower_bound
from moeplace.formulations.bounds.communication import touch_bounds
from moeplace.formulations.bounds.partition import touched_parts
from moeplace.formulations.bounds.relaxation import Parts, Rows, dual_value
from moeplace.formulations.bounds.touched import prove_touches, trimmed
from moeplace.formulations.verify.partition_check import proven_touches, set_partitions
from moeplace.placement import evaluate, make_problem
from moeplace.traces import TokenSets
from tests.reference.instances import (
    random_placement,
    tiny_cluster,
    tiny_model,
    token_sets,
    workload_of_sets,
)

BELL = (1, 1, 2, 5, 15, 52, 203, 877, 4140)


def all_labels(parts: Parts) -> np.ndarray:
    """Return (partitions, experts) the part of each expert, parts no fuller than they may be."""
    labels = np.array(list(product(range(parts.parts), repeat=parts.experts)))
    sizes = np.array([np.bincount(row, minlength=parts.parts).max() for row in labels])
    return labels[sizes <= parts.capacity]


def touched(labels: np.ndarray, sets: TokenSets) -> np.ndarray:
    """Return (partitions,) the mean number of parts a token touches, counted one by one."""
    means = []
    for row in labels:
        counts = [len({row[e] for e in ids if e >= 0}) for ids in sets.ids]
        means.append(np.average(counts, weights=sets.weight))
    return np.array(means)


@pytest.mark.parametrize(
    ("experts", "parts", "capacity"), [(6, 2, 3), (6, 3, 2), (6, 2, 4), (5, 3, 2), (7, 2, 4)]
)
def test_never_above_the_best_partition(experts, parts, capacity):
    """On random tokens, some shorter, for full and for partly empty parts; and not useless."""
    rng = np.random.default_rng(experts * 100 + parts * 10 + capacity)
    shape = Parts(experts, parts, capacity)
    labels = all_labels(shape)
    for _ in range(3):
        sets = token_sets(rng, experts, 3, 12)
        ids = sets.ids.copy()
        ids[0, 1:] = -1
        ids[1, 0] = -1
        sets = TokenSets(ids, sets.weight)
        least = touched(labels, sets).min()
        found = touched_parts(sets, shape)
        assert 0.6 * least <= found.value <= least * (1 + 1e-12)


def test_caps_raise_the_bound_and_hold():
    """With caps on loads the bound is higher, and below the best partition that keeps them."""
    rng = np.random.default_rng(3)
    shape = Parts(8, 2, 6)
    labels = all_labels(shape)
    gains = []
    for _ in range(4):
        sets = token_sets(rng, 8, 3, 20)
        load = sets.load(8) / sets.total_weight
        cap = 1.15 * load.sum() / 2
        loads = np.array([np.bincount(row, load, 2).max() for row in labels])
        values = touched(labels, sets)
        least = values[loads <= cap].min()
        plain = touched_parts(sets, shape).value
        capped = touched_parts(sets, shape, (Rows(load / cap, np.zeros(8)),)).value
        assert capped <= least * (1 + 1e-12)
        assert plain <= values.min() * (1 + 1e-12)
        gains.append(capped - plain)
    assert max(gains) > 0.02


def test_budget_bounds_the_sum():
    """With a budget B the value is below λ + B · (largest load / cap − 1) of every partition."""
    rng = np.random.default_rng(4)
    shape = Parts(6, 2, 5)
    labels = all_labels(shape)
    for budget in (0.1, 0.5, 2.0):
        sets = token_sets(rng, 6, 3, 15)
        load = sets.load(6) / sets.total_weight
        cap = load.sum() / 2
        most = np.array([np.bincount(row, load, 2).max() for row in labels])
        joint = touched(labels, sets) + budget * np.maximum(most / cap - 1, 0.0)
        rows = (Rows(load / cap, np.zeros(6), 0, budget),)
        assert touched_parts(sets, shape, rows).value <= joint.min() * (1 + 1e-12)


@pytest.mark.parametrize("shape", [Parts(6, 3, 2), Parts(6, 2, 4)])
def test_any_multiplier_is_a_bound(shape):
    """The dual value of random costs and multipliers lies below the cost of every partition."""
    rng = np.random.default_rng(5)
    labels = all_labels(shape)
    together = labels[:, :, None] == labels[:, None, :]
    for _ in range(30):
        cost, dual = rng.normal(size=(2, 6, 6))
        cost, dual = cost + cost.T, dual + dual.T
        value, rounding = dual_value(cost, dual, shape)
        assert value - rounding <= (together * cost).sum(axis=(1, 2)).min() + 1e-12


@pytest.mark.parametrize("shape", [Parts(6, 3, 2), Parts(7, 2, 4), Parts(9, 2, 5)])
def test_checker_and_solver_agree(shape):
    """Two programs work the same number out of one certificate."""
    rng = np.random.default_rng(6)
    sets = token_sets(rng, shape.experts, 4, 20)
    load = sets.load(shape.experts) / sets.total_weight
    rows = (
        Rows(np.full(shape.experts, 1 / shape.capacity), np.zeros(shape.experts)),
        Rows(load * shape.parts / load.sum(), load / 7, 2, 0.7),
    )
    found = touched_parts(sets, shape, rows)
    checked = proven_touches(sets, found.certificate, shape, rows)
    assert checked == pytest.approx(found.value, rel=1e-9)
    damaged = replace(found.certificate, dual=found.certificate.dual // 2)
    assert proven_touches(sets, damaged, shape, rows) < checked


@pytest.mark.parametrize("size", range(1, 9))
def test_all_set_partitions(size):
    """The checker's table has as many rows as Bell's numbers say, no two alike."""
    together, parts = set_partitions(size)
    assert len(together) == len(np.unique(together, axis=0)) == BELL[size]
    assert parts.min() == 1
    assert parts.max() == size


@pytest.mark.parametrize("dispatch", ["even", "lp", "nearest", "rank_modulo", "cover"])
def test_replicas_cannot_beat_it(dispatch):
    """Random placements with replicas touch at least as many ranks and nodes as proven."""
    rng = np.random.default_rng(7)
    sets = [token_sets(rng, 8, 3, 15)]
    problem = make_problem(
        tiny_model(8, 3),
        tiny_cluster(4, 2),
        workload_of_sets(sets, 8),
        redundant=4,
        dispatch=dispatch,
        dedup="node",
        objective="copies",
    )
    ranks, nodes = (prove_touches(problem, level) for level in ("ranks", "nodes"))
    assert nodes.value[0] <= ranks.value[0]
    assert ranks.value[0] > (0.8 if dispatch != "cover" else -1.0)
    for _ in range(40):
        score = evaluate(problem, random_placement(rng, problem))
        assert score.ranks_per_token >= ranks.value[0]


def test_strong_is_better_and_known_to_be():
    """Strong raises the bound of copies and says so; without room it keeps no certificate."""
    rng = np.random.default_rng(8)
    sets = [token_sets(rng, 12, 4, 40) for _ in range(2)]
    workload = workload_of_sets(sets, 12)
    problem = make_problem(
        tiny_model(12, 4, 2), tiny_cluster(4, 4), workload, dedup="rank", objective="copies"
    )
    fast, strong = lower_bound(problem), lower_bound(problem, "strong")
    assert strong.value > fast.value
    assert "partition" in strong.method
    assert strong.proofs[0].value.mean() > touch_bounds(problem).ranks.mean()
    nothing = trimmed(strong.proofs, most_bytes=0)[0]
    assert nothing.certificates == (None, None)
    assert not nothing.value.any()
    assert trimmed(strong.proofs)[0].certificates == strong.proofs[0].certificates
    hurried = lower_bound(problem, "strong", time_limit_s=1e-6)
    assert hurried.value >= fast.value * (1 - 1e-12)


def test_time_together_with_compute():
    """A bound on the sum is at least the sum of the bounds, and below every placement."""
    rng = np.random.default_rng(9)
    workload = workload_of_sets([token_sets(rng, 8, 3, 30)], 8)
    problem = make_problem(tiny_model(8, 3), tiny_cluster(4, 2), workload, dedup="node")
    fast, strong = lower_bound(problem), lower_bound(problem, "strong")
    assert strong.value >= fast.value
    assert sum(strong.terms.values()) == pytest.approx(strong.value)
    for _ in range(40):
        score = evaluate(problem, random_placement(rng, problem))
        assert score.objective >= strong.value
