from __future__ import annotations

import json

import numpy as np
import pytest

from moeplace.errors import InputError
from moeplace.traces import (
    RoutingTrace,
    Workload,
    default_workloads,
    synthesize_token_sets,
    trace_info,
    transitions,
    workload_stats,
)
from moeplace.traces.stats import gini, spearman


def test_trace_info_by_hand(random_trace):
    """The description of a trace counts what is there."""
    info = trace_info(random_trace())
    assert (info.tokens, info.layers, info.top_k, info.experts) == (60, 3, 2, 8)
    assert info.requests == 10
    assert info.tokens_per_request == (6, 6.0, 6)
    assert info.phases == {"prefill": 40, "decode": 20}
    assert info.domains == {"code": 30, "law": 30}
    assert info.absent == 0
    assert len(info.phase_spearman) == 3
    json.dumps(info.as_dict())


def test_trace_info_of_bare_ids():
    """What is not recorded is None or empty; absent ids are counted."""
    info = trace_info(RoutingTrace.from_arrays([[[0], [-1]], [[1], [1]]], 2))
    assert info.requests is None
    assert info.phases == info.domains == {}
    assert info.phase_spearman is None
    assert info.absent == 0.25


def test_even_and_single_loads_are_the_extremes():
    """Even loads have no skew, a single loaded expert has all of it."""
    stats = workload_stats(Workload.from_loads([[2, 2, 2, 2], [0, 0, 8, 0]], top_k=1))
    assert stats.imbalance == (1.0, 4.0)
    assert stats.gini == pytest.approx((0.0, 0.75))
    assert stats.effective_experts == pytest.approx((4.0, 1.0))
    assert stats.top_expert == (0, 2)
    assert stats.top_share == (0.25, 1.0)
    assert stats.pair_share is None
    assert stats.contiguous_ranks is None
    json.dumps(stats.as_dict())


def test_gini_by_definition():
    """The closed form equals the mean absolute difference over twice the mean."""
    load = np.array([3.0, 1, 4, 1, 5, 9, 2, 6])
    wanted = np.abs(load[:, None] - load).mean() / (2 * load.mean())
    assert gini(load) == pytest.approx(wanted)


def test_spearman_against_scipy():
    """Ranks with ties give SciPy's coefficient; a constant has none."""
    from scipy.stats import spearmanr

    rng = np.random.default_rng(0)
    a, b = rng.integers(0, 6, 40), rng.integers(0, 6, 40)
    assert spearman(a, b) == pytest.approx(spearmanr(a, b).statistic)
    assert np.isnan(spearman(a, np.ones(40)))


def test_pairs_that_always_go_together():
    """Two closed pairs hold all co-activations; their lift is over independent experts."""
    trace = RoutingTrace.from_arrays([[[0, 1]], [[2, 3]]] * 5, 4)
    stats = workload_stats(Workload.from_trace(trace), ranks=(2, 4))
    assert stats.pair_share == {"1%": (0.5,), "10%": (0.5,)}  # one of six pairs
    assert stats.pair_lift["1%"] == pytest.approx((3.0,))
    assert stats.contiguous_ranks == {2: (1.0,), 4: (2.0,)}
    assert stats.random_ranks == pytest.approx({2: 2 * (1 - 2 / 4 * 1 / 3), 4: 2.0})


def test_random_ranks_is_what_shuffling_gives():
    """The hypergeometric mean agrees with a simulation, also when ranks differ in size."""
    stats = workload_stats(Workload.from_loads(np.ones((1, 30)), top_k=5), ranks=(4, 8))
    rng = np.random.default_rng(1)
    for ranks in (4, 8):
        rank_of = np.sort(np.arange(30) % ranks)
        drawn = [len(set(rank_of[rng.permutation(30)[:5]])) for _ in range(20_000)]
        assert stats.random_ranks[ranks] == pytest.approx(np.mean(drawn), abs=0.02)


def test_group_limited_routing_touches_fewer_ranks():
    """Synthetic DeepSeek-V3 sets touch at most four of eight ranks that hold a group each."""
    workload = default_workloads("deepseek-v3")["prefill"].select_layers([5])
    sets = synthesize_token_sets(workload.load, 8, n_group=8, topk_group=4, sets_per_layer=512)
    stats = workload_stats(workload.with_token_sets(sets, "synthetic"))
    assert stats.contiguous_ranks[8][0] <= 4
    assert stats.random_ranks[8] > 5
    assert stats.token_sets_kind == "synthetic"


def test_transitions_by_hand():
    """Pairs of consecutive layers, all or of the main expert only."""
    ids = [[[0, 1], [2, 0]], [[1, 2], [2, 1]], [[-1, -1], [0, 2]]]
    trace = RoutingTrace.from_arrays(ids, 3, weights=np.tile([0.1, 0.9], (3, 2, 1)))
    counts = transitions(trace)
    assert counts.shape == (1, 3, 3)
    assert counts[0].tolist() == [[1, 0, 1], [1, 1, 2], [0, 1, 1]]
    assert transitions(trace, primary=True)[0].tolist() == [[0, 0, 0], [1, 0, 0], [0, 1, 0]]
    unweighted = trace.replace(weights=None)
    assert transitions(unweighted, primary=True)[0].tolist() == [[0, 0, 1], [0, 0, 1], [0, 0, 0]]
    with pytest.raises(InputError, match="need two"):
        transitions(RoutingTrace.from_arrays([[[0]]], 1))
