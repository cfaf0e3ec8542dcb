from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moeplace.errors import InputError, UsageError
from moeplace.traces import default_workloads, synthesize, synthesize_token_sets


def _skewed(layers=2, experts=64, seed=0):
    load = np.random.default_rng(seed).lognormal(0.0, 1.0, (layers, experts))
    return load * 1000


@pytest.mark.parametrize(("n_group", "topk_group"), [(1, 1), (8, 4), (4, 2)])
def test_loads_are_reproduced(n_group, topk_group):
    """Weighted loads are the given ones to 1e-6; every set is one that the router could make."""
    load = _skewed()
    result = synthesize(load, 4, n_group=n_group, topk_group=topk_group, sets_per_layer=1024)
    for sets, row in zip(result.token_sets, load, strict=True):
        np.testing.assert_allclose(sets.load(64), row, rtol=1e-6)
        assert (np.diff(sets.ids, axis=1) > 0).all()
        groups = sets.ids // (64 // n_group)
        assert max(len(set(g)) for g in groups.tolist()) <= topk_group
        assert sets.total_weight == pytest.approx(row.sum() / 4)
        assert len(np.unique(sets.ids, axis=0)) == sets.num_sets
    assert (result.smallest_ratio > 0).all()
    assert (result.largest_ratio < 10).all()


def test_deepseek_v3_loads_are_reproduced():
    """Measured loads of DeepSeek-V3 come out of its router shape, with mild weights."""
    workload = default_workloads("deepseek-v3")["decode"].select_layers([0, 30])
    result = synthesize(workload.load, 8, n_group=8, topk_group=4, sets_per_layer=4096)
    for sets, row in zip(result.token_sets, workload.load, strict=True):
        np.testing.assert_allclose(sets.load(256), row, rtol=1e-6)
        assert max(len(set(g)) for g in (sets.ids // 32).tolist()) <= 4
        assert sets.num_sets >= 4000
    assert result.largest_ratio.max() < 5
    assert result.smallest_ratio.min() > 0.1


def test_same_seed_same_sets():
    """Sets depend on seed, row and load alone: not on other layers or on the other thread."""
    load = _skewed(4)
    first, again = (synthesize_token_sets(load, 4, sets_per_layer=256) for _ in range(2))
    alone = synthesize_token_sets(load[:1], 4, sets_per_layer=256)
    other = synthesize_token_sets(load, 4, sets_per_layer=256, seed=1)
    for a, b in zip(first, again, strict=True):
        assert a.ids.tobytes() == b.ids.tobytes()
        assert a.weight.tobytes() == b.weight.tobytes()
    assert alone[0].weight.tobytes() == first[0].weight.tobytes()
    assert other[0].ids.tobytes() != first[0].ids.tobytes()
    twice = synthesize_token_sets(load[[0, 0]], 4, sets_per_layer=256)
    assert twice[0].ids.tobytes() != twice[1].ids.tobytes()


def test_experts_without_load_never_appear_and_rare_ones_do():
    """Zero load means no set; one token in a million still means a set."""
    load = np.ones((1, 32)) * 1e6
    load[0, 5] = 0
    load[0, 6] = 1
    sets = synthesize_token_sets(load, 4, n_group=4, topk_group=2, sets_per_layer=256)[0]
    assert not (sets.ids == 5).any()
    np.testing.assert_allclose(sets.load(32), load[0], rtol=1e-6)


def test_an_expert_in_every_token():
    """A load share of exactly 1/top_k is possible: the expert is in every set."""
    load = np.ones((1, 16))
    load[0, 3] = 5.0  # 15 others share the other three quarters
    sets = synthesize_token_sets(load, 4, n_group=4, topk_group=2, sets_per_layer=256)[0]
    assert (sets.ids == 3).any(axis=1).all()
    np.testing.assert_allclose(sets.load(16), load[0], rtol=1e-6)


@pytest.mark.parametrize(
    ("load", "arguments", "error", "message"),
    [
        ([9.0, 1, 1, 1], {"top_k": 2}, InputError, "expert 0 of layer row 0 has 75.00%"),
        ([1.0, 0, 0, 0], {"top_k": 2}, InputError, "100.00%"),
        ([0.0, 0, 0, 0], {"top_k": 2}, InputError, "has no load"),
        ([np.nan, 1, 1, 1], {"top_k": 2}, InputError, "finite"),
        (
            [1.0, 0, 1, 0],
            {"top_k": 2, "n_group": 2, "topk_group": 1},
            InputError,
            "groups hold 1 with any load",
        ),
        (
            [1.0, 2, 2, 1],
            {"top_k": 2, "n_group": 2, "topk_group": 1},
            InputError,
            "found no mix of token sets",
        ),
        ([1.0, 1, 1, 1], {"top_k": 5}, UsageError, "top_k 5"),
        ([1.0, 1, 1, 1], {"top_k": 2, "n_group": 3}, UsageError, "3 equal groups"),
        ([1.0, 1, 1, 1], {"top_k": 2, "n_group": 2, "topk_group": 3}, UsageError, "topk_group 3"),
        ([1.0, 1, 1, 1], {"top_k": 2, "sets_per_layer": 0}, UsageError, "sets_per_layer"),
    ],
)
def test_impossible_loads_are_refused(load, arguments, error, message):
    """What no router of the shape can produce is refused with the reason."""
    with pytest.raises(error, match=message):
        synthesize_token_sets([load], **arguments)


@given(seed=st.integers(0, 2**32 - 1))
@settings(max_examples=40, deadline=None)
def test_loads_of_real_sets_can_be_reproduced(seed):
    """Loads counted from any tokens of the router's shape are reproduced."""
    rng = np.random.default_rng(seed)
    n_group = int(rng.choice([1, 2, 4]))
    size = int(rng.integers(2, 9))
    topk_group = int(rng.integers(1, n_group + 1))
    top_k = int(rng.integers(1, min(6, topk_group * size) + 1))
    popularity = rng.pareto(1.5, n_group * size) + 0.01
    load = np.zeros(n_group * size)
    for _ in range(int(rng.integers(20, 200))):
        groups = rng.choice(n_group, topk_group, replace=False)
        open_experts = (groups[:, None] * size + np.arange(size)).ravel()
        chance = popularity[open_experts] / popularity[open_experts].sum()
        load[rng.choice(open_experts, top_k, replace=False, p=chance)] += 1
    result = synthesize(
        [load], top_k, n_group=n_group, topk_group=topk_group, sets_per_layer=256, seed=seed % 7
    )
    sets = result.token_sets[0]
    np.testing.assert_allclose(sets.load(load.size), load, rtol=1e-3)
    assert ((sets.load(load.size) > 0) == (load > 0)).all()
    assert max(len(set(g)) for g in (sets.ids // size).tolist()) <= topk_group
