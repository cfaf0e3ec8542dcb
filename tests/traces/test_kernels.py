from __future__ import annotations

import numpy as np
import pytest

from moeplace.traces.kernels import rake, route


def _route_plainly(scores, top_k, n_group, topk_group):
    """Route one token as arXiv 2412.19437 §2.1.2 says, without any cleverness."""
    groups = scores.reshape(n_group, -1)
    rank = np.sort(groups, axis=1)[:, -2:].sum(axis=1)
    kept = np.argsort(-rank)[:topk_group]
    masked = np.full(groups.shape, -np.inf)
    masked[kept] = groups[kept]
    return sorted(np.argsort(-masked.ravel())[:top_k].tolist())


@pytest.mark.parametrize(("n_group", "topk_group"), [(1, 1), (4, 2), (8, 4)])
def test_route_follows_the_router_of_deepseek_v3(n_group, topk_group):
    """Groups by the sum of their two best, then the best experts of the open groups."""
    rng = np.random.default_rng(n_group)
    tokens, experts, top_k = 300, 32, 4
    uniform = rng.random((tokens, experts), dtype=np.float32)
    odds = np.exp(rng.normal(size=experts)).astype(np.float32)
    bonus = rng.random(experts, dtype=np.float32) * np.float32(0.2)
    ids = np.empty((tokens, top_k), np.uint16)
    neither = np.full(tokens, experts)
    route(uniform, odds, bonus, neither, top_k, n_group, topk_group, ids)
    hit = odds * uniform
    scores = hit / (hit + (1 - uniform)) + bonus
    wanted = [_route_plainly(row, top_k, n_group, topk_group) for row in scores]
    assert ids.tolist() == wanted


def test_route_forces_experts_in_and_out():
    """A mark puts an expert into its token's set, or keeps it out."""
    experts = 16
    uniform = np.random.default_rng(0).random((2 * experts, experts), dtype=np.float32)
    marks = np.concatenate([np.arange(experts), -1 - np.arange(experts)])
    ids = np.empty((2 * experts, 3), np.uint16)
    flat = np.ones(experts, np.float32)
    route(uniform, flat, np.zeros(experts, np.float32), marks, 3, 4, 2, ids)
    for expert in range(experts):
        assert expert in ids[expert]
        assert expert not in ids[experts + expert]


def test_route_opens_groups_with_enough_live_experts():
    """Where few experts are live, groups that could not fill a set are passed over."""
    odds = np.array([9, 0, 0, 0, 1, 1, 0, 0, 1, 1, 1, 0], np.float32)
    uniform = np.random.default_rng(1).random((200, 12), dtype=np.float32)
    ids = np.empty((200, 4), np.uint16)
    route(uniform, odds, np.zeros(12, np.float32), np.full(200, 12), 4, 3, 2, ids)
    assert {tuple(row) for row in ids.tolist()} <= {(0, 8, 9, 10)} | {
        (4, 5, *pair) for pair in ((8, 9), (8, 10), (9, 10))
    } | {(one, 8, 9, 10) for one in (4, 5)}
    assert (odds[ids] > 0).all()


def test_rake_finds_the_nearest_weights():
    """Weights keep the product form of the start: they are the Kullback–Leibler projection."""
    ids = np.array([[0, 1], [0, 2], [1, 2], [0, 3], [1, 3], [2, 3]], np.int32)
    weight = np.ones(6)
    load = np.array([4.0, 3, 3, 2])
    assert rake(ids, weight, load, 1e-12, 1000) <= 1e-12
    got = np.bincount(ids.ravel(), np.repeat(weight, 2))
    np.testing.assert_allclose(got, load, rtol=1e-10)
    # The weight of {e, f} is a_e · a_f, so both ways round a square agree.
    assert weight[0] * weight[5] == pytest.approx(weight[1] * weight[4])
    assert weight[0] * weight[5] == pytest.approx(weight[3] * weight[2])


def test_rake_reports_what_cannot_be():
    """Loads outside the reach of the sets leave an error."""
    ids = np.array([[0, 1], [2, 3]], np.int32)
    assert rake(ids, np.ones(2), np.array([1.0, 2, 1, 1]), 1e-9, 500) > 0.1
