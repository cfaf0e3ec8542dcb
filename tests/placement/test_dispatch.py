"""Dispatch policies: who serves a token."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from moeplace.errors import InputError
from moeplace.placement.cover import cover_use, even_shares
from moeplace.placement.dispatch import least_load_split, replica_weight
from moeplace.traces import TokenSets


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
    """Return slot pairs, touches and λ with one destination set per rank."""
    sets = TokenSets(np.asarray(tokens, np.int32), np.ones(len(tokens)))
    use = cover_use(sets, expert_of_slot, rank_of_slot, experts, np.eye(ranks, dtype=bool))
    return use.slot_pairs, use.touches, use.ranks_per_token


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


def test_cover_uses_an_even_split_of_equals():
    """One token type may go to either of two ranks: half goes to each."""
    rank_of_slot = np.repeat(np.arange(3, dtype=np.int32), 2)
    both = np.array([0, 1, 0, 1, 2, 3], np.int32)
    pairs, touches, distinct = cover([[0, 1]], both, rank_of_slot, 3, 4)
    np.testing.assert_allclose(pairs, [0.5, 0.5, 0.5, 0.5, 0, 0])
    np.testing.assert_allclose(touches, [0.5, 0.5, 0])
    assert distinct == 1


def test_cover_spares_the_rank_that_is_busy_anyway():
    """Expert 1 is alone on rank 0 and takes half of the tokens: the others all go to rank 1."""
    rank_of_slot = np.repeat(np.arange(2, dtype=np.int32), 2)
    pairs, touches, _ = cover([[0], [1]], np.array([0, 1, 0, 2], np.int32), rank_of_slot, 2, 3)
    np.testing.assert_allclose(pairs, [0, 0.5, 0.5, 0])
    np.testing.assert_allclose(touches, [0.5, 0.5])


def test_even_shares_reach_the_largest_confined_load():
    """The largest load is max over rank subsets U of what can only go to U, divided by |U|."""
    rng = np.random.default_rng(3)
    for _ in range(60):
        base, amount = rng.random(4), 2 * rng.random(5)
        subsets = [u for size in (2, 3, 4) for u in combinations(range(4), size)]
        choices = [subsets[i] for i in rng.choice(len(subsets), 5, replace=False)]
        start = np.concatenate([[0], np.cumsum([len(c) for c in choices])])
        ranks = np.concatenate(choices)
        share = even_shares(base, start, ranks, amount)
        assert (share >= 0).all()
        np.testing.assert_allclose(np.add.reduceat(share, start[:-1]), 1)
        poured = np.repeat(amount, np.diff(start)) * share
        load = base + np.bincount(ranks, weights=poured, minlength=4)
        confined = max(
            (base[list(u)].sum() + sum(a for a, c in zip(amount, choices, strict=True)
                                       if set(c) <= set(u))) / size
            for size in range(1, 5)
            for u in combinations(range(4), size)
        )  # fmt: skip
        assert load.max() == pytest.approx(confined, rel=1e-6)
        order = rng.permutation(5)  # whatever the order of the choices
        again = even_shares(
            base,
            np.concatenate([[0], np.cumsum(np.diff(start)[order])]),
            np.concatenate([choices[v] for v in order]),
            amount[order],
        )
        np.testing.assert_array_equal(
            again, np.concatenate([share[start[v] : start[v + 1]] for v in order])
        )
