"""Dispatch policies: who serves a token."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from moeplace.errors import InputError
from moeplace.placement.dispatch import least_load_split, replica_weight
from moeplace.placement.kernels import cover_use


def random_layer(rng, experts=6, ranks=4, slots=3):
    """Return (expert_of_slot, rank_of_slot) with every expert placed and some copied."""
    rank_of_slot = np.repeat(np.arange(ranks, dtype=np.int32), slots)
    while True:
        table = np.full((ranks, slots), -1, np.int32)
        for rank in range(ranks):
            held = rng.choice(experts, size=rng.integers(1, slots + 1), replace=False)
            table[rank, : held.size] = held
        if set(range(experts)) <= set(table.ravel().tolist()):
            return table.ravel(), rank_of_slot


def test_lp_reaches_the_largest_confined_load():
    """The best split's largest rank load is max over rank subsets U of load(only on U) / |U|."""
    rng = np.random.default_rng(0)
    for _ in range(60):
        expert_of_slot, rank_of_slot = random_layer(rng)
        load = rng.random(6) ** 3
        split = least_load_split(expert_of_slot, rank_of_slot, load, 4)
        occupied = expert_of_slot >= 0
        served = load[expert_of_slot[occupied]] * split[occupied]
        largest = np.bincount(rank_of_slot[occupied], weights=served, minlength=4).max()
        homes = [set(rank_of_slot[expert_of_slot == e].tolist()) for e in range(6)]
        confined = max(
            sum(load[e] for e in range(6) if homes[e] <= set(subset)) / len(subset)
            for size in range(1, 5)
            for subset in combinations(range(4), size)
        )
        assert largest == pytest.approx(confined, rel=1e-7)
        whole = np.bincount(expert_of_slot[occupied], weights=split[occupied], minlength=6)
        np.testing.assert_allclose(whole, 1.0)


def test_nearest_prefers_rank_then_node_then_all():
    """One expert on ranks 0 and 1 of node 0: each serves itself, ranks of node 1 use both."""
    weight = replica_weight(
        np.array([0, 0, -1, -1], np.int32),
        np.arange(4, dtype=np.int32),
        np.array([0, 0, 1, 1]),
        np.ones(1),
        "nearest",
    )
    np.testing.assert_array_equal(weight[:, :2], [[1, 0], [0, 1], [1, 1], [1, 1]])


def test_unknown_policy_is_refused():
    """The error names the policies there are."""
    with pytest.raises(InputError, match="even, nearest"):
        replica_weight(np.zeros(1, np.int32), np.zeros(1, np.int32), np.zeros(1), np.ones(1), "odd")


def cover(tokens, expert_of_slot, rank_of_slot, ranks=4, experts=6):
    """Run the kernel with one destination set per rank."""
    slot = np.argsort(expert_of_slot, kind="stable")
    slot = slot[expert_of_slot[slot] >= 0]
    counts = np.bincount(expert_of_slot[slot], minlength=experts)
    start = np.concatenate([[0], np.cumsum(counts)])
    return cover_use(
        np.asarray(tokens, np.int32),
        np.ones(len(tokens)),
        start.astype(np.int64),
        slot.astype(np.int64),
        rank_of_slot,
        np.arange(ranks + 1),
        np.arange(ranks),
        ranks,
        ranks,
    )


def test_cover_serves_every_expert_once_on_ranks_that_hold_it():
    """Pairs are conserved expert by expert, and λ is the sum of the touches."""
    rng = np.random.default_rng(1)
    for _ in range(40):
        expert_of_slot, rank_of_slot = random_layer(rng)
        tokens = np.array([rng.choice(6, 3, replace=False) for _ in range(20)])
        served, touches, distinct = cover(tokens, expert_of_slot, rank_of_slot)
        for expert in range(6):
            pairs = served[expert_of_slot == expert].sum()
            assert pairs == pytest.approx((tokens == expert).sum() / 20)
        assert served[expert_of_slot < 0].sum() == 0
        assert touches.sum() == pytest.approx(distinct)


def test_cover_is_a_cover_and_close_to_the_smallest():
    """Greedy never beats the smallest cover and is rarely larger on three experts."""
    rng = np.random.default_rng(2)
    extra = 0.0
    for _ in range(60):
        expert_of_slot, rank_of_slot = random_layer(rng)
        token = rng.choice(6, 3, replace=False)
        homes = [set(rank_of_slot[expert_of_slot == e].tolist()) for e in token]
        smallest = next(
            size
            for size in range(1, 4)
            if any(all(h & set(c) for h in homes) for c in combinations(range(4), size))
        )
        _, _, distinct = cover(token[None, :], expert_of_slot, rank_of_slot)
        assert distinct >= smallest
        extra += distinct - smallest
    assert extra / 60 < 0.1


def test_cover_uses_a_copy_that_spares_a_rank():
    """Experts 0 and 1 live apart; a copy of 1 beside 0 lets the token stay on one rank."""
    rank_of_slot = np.repeat(np.arange(4, dtype=np.int32), 2)
    apart = np.array([0, -1, 1, -1, 2, 3, 4, 5], np.int32)
    beside = np.array([0, 1, 1, -1, 2, 3, 4, 5], np.int32)
    assert cover([[0, 1]], apart, rank_of_slot)[2] == 2
    assert cover([[0, 1]], beside, rank_of_slot)[2] == 1
