"""Clique cut: cutting planes and full programs against enumeration."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest

from moeplace.errors import InputError
from moeplace.formulations.exact import clique_cut
from moeplace.formulations.exact.clique import BACKENDS
from moeplace.formulations.exact.clique_cuts import prove


def equal_parts(experts, ranks):
    """Yield every assignment of experts to equal parts, some of them twice."""
    size = experts // ranks
    labels = np.repeat(np.arange(ranks), size)
    yield from {(0, *rest) for rest in permutations(labels[1:])}


def cut_of(weight, part):
    """Return the weight between different parts."""
    part = np.asarray(part)
    both = (weight + weight.T) / 2
    return float(np.triu(both, 1)[part[:, None] != part[None, :]].sum())


def instance(seed, experts):
    """Return weights: whole or not, symmetric or not, sparse or not, with a diagonal."""
    rng = np.random.default_rng(seed)
    weight = rng.gamma(0.4, size=(experts, experts)) * 20
    if seed % 2:
        weight = np.rint(weight)
    if seed % 3 == 0:
        weight *= rng.random((experts, experts)) < 0.5
    return weight


@pytest.mark.parametrize("backend", BACKENDS)
def test_proven_cut_is_the_least(backend):
    """Cut, partition and bound are those of enumeration."""
    for seed, (experts, ranks) in enumerate(((6, 2), (6, 3), (8, 2), (8, 4), (6, 2), (8, 2))):
        weight = instance(seed, experts)
        best = min(cut_of(weight, part) for part in equal_parts(experts, ranks))
        found = clique_cut(weight, ranks, backend=backend)
        assert found.cut == pytest.approx(best, rel=1e-9)
        assert cut_of(weight, found.rank_of_expert) == pytest.approx(found.cut)
        assert (np.bincount(found.rank_of_expert) == experts // ranks).all()
        assert found.status == "optimal"
        assert found.lower_bound <= best * (1 + 1e-12)


def test_a_bad_start_is_improved_and_no_bound_is_too_high():
    """From any known cut the proof ends with a better partition or a bound at most the least."""
    for seed in range(4):
        weight = instance(seed, 8)
        both = (weight + weight.T) / 2
        np.fill_diagonal(both, 0.0)
        cuts = sorted(cut_of(weight, part) for part in equal_parts(8, 2))
        for known in (cuts[0], cuts[len(cuts) // 2], cuts[-1]):
            bound, together = prove(both, 2, known, None)
            assert bound <= cuts[0] * (1 + 1e-9)
            assert (together is None) == (known <= cuts[0] * (1 + 1e-9))


def test_out_of_time_is_honest():
    """Without time the partition is the heuristic's and nothing is claimed."""
    weight = np.random.default_rng(0).gamma(0.5, size=(24, 24))
    found = clique_cut(weight, 4, time_limit_s=1e-9)
    assert found.lower_bound < found.cut
    assert found.status == "feasible"


def test_trivial_cuts():
    """One part cuts nothing; parts of one cut everything; no weight, no cut."""
    weight = np.arange(16.0).reshape(4, 4)
    assert clique_cut(weight, 1).cut == 0
    everything = clique_cut(weight, 4)
    assert everything.cut == cut_of(weight, range(4))
    assert everything.status == "optimal"
    assert clique_cut(np.zeros((4, 4)), 2).status == "optimal"


def test_bad_input_is_named():
    """Shapes, signs, divisors and backends."""
    with pytest.raises(InputError, match="divisor"):
        clique_cut(np.ones((5, 5)), 2)
    with pytest.raises(InputError, match="shape"):
        clique_cut(np.ones((4, 5)), 2)
    with pytest.raises(InputError, match="at least 0"):
        clique_cut(-np.ones((4, 4)), 2)
    with pytest.raises(InputError, match="cpsat"):
        clique_cut(np.ones((4, 4)), 2, backend="cpsta")


@pytest.mark.slow
@pytest.mark.parametrize("ranks", [4, 8])
def test_thirty_two_experts_are_proven(ranks):
    """The size of the issue: 32 experts on 4 and on 8 ranks."""
    rng = np.random.default_rng(5)
    topic = rng.gamma(0.35, size=(8, 32)) + 1e-3
    weight = np.zeros((32, 32))
    for _ in range(3000):
        ids = np.argsort(rng.exponential(size=32) / topic[rng.integers(8)])[:4]
        weight[np.ix_(ids, ids)] += 1
    assert clique_cut(weight, ranks, time_limit_s=None).status == "optimal"
