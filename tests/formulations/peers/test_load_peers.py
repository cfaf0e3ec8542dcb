"""Peers that know loads alone: small cases worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from moeplace.formulations.peers.amd import amd_swap, swap_towards_mean
from moeplace.formulations.peers.fastermoe import fastermoe_shadowing, shadow_latency_s, shadows
from moeplace.formulations.peers.huang import greedy_ranks, huang_greedy
from moeplace.formulations.peers.lazarus import overlapping, replica_counts
from moeplace.formulations.peers.moetuner import improve, longest_first
from moeplace.formulations.peers.patterns import dup, duplicate, remap
from moeplace.formulations.solver import Run

ROW = np.arange(4)


def held(placement, layer=0):
    """Return what each rank holds, as sorted lists."""
    table = placement.expert_of_slot[layer].reshape(placement.num_ranks, -1)
    return [sorted(row[row >= 0].tolist()) for row in table]


def two_ranks():
    """Experts 0, 1 on rank 0 and 2, 3 on rank 1."""
    return np.array([[True, True, False, False], [False, False, True, True]])


def test_huang_greedy_by_hand(make_tiny):
    """8 → r0; 7 → r1; 6 → r1 (13 > 8); r1 is full, so 5 → r0. No replica though one is allowed."""
    problem = make_tiny([[5, 6, 7, 8]], 2, redundant=2)
    assert held(huang_greedy(problem, Run(), None).placement) == [[0, 3], [1, 2]]
    # 9 → r0, then 1, 1, 1 want r1 (0, 1, 2 < 9), which is full after two.
    assert greedy_ranks(np.array([9.0, 1.0, 1.0, 1.0]), 2).tolist() == [0, 1, 1, 0]


def test_moetuner_lets_clusters_differ_in_size():
    """One of 9 against three of 3 deviates by nothing; equal sizes would leave 12 against 6."""
    load = np.array([9.0, 3.0, 3.0, 3.0])
    cluster = longest_first(load, 2, 3)
    assert cluster.tolist() == [0, 1, 1, 1]
    assert longest_first(load, 2, 2).tolist() == [0, 1, 1, 0]


def test_moetuner_improves_on_longest_first():
    """Longest first leaves 5 + 4 | 5 + 3 + 3; exchanging 4 and 5 leaves 10 | 10."""
    load = np.array([5.0, 5.0, 4.0, 3.0, 3.0])
    cluster = longest_first(load, 2, 3)
    assert np.bincount(cluster, weights=load).tolist() == [9.0, 11.0]
    improve(load, cluster, 2, 3)
    assert np.bincount(cluster, weights=load).tolist() == [10.0, 10.0]


def test_moetuner_keeps_clusters_within_their_limits():
    """No cluster is empty or above its size, not even where most experts have no load."""
    generator = np.random.default_rng(3)
    for _ in range(60):
        ranks, experts = int(generator.integers(1, 6)), int(generator.integers(6, 15))
        load = generator.integers(0, 4, experts) * generator.integers(0, 9, experts).astype(float)
        most = -(-experts // ranks) + int(generator.integers(0, 2))
        cluster = longest_first(load, ranks, most)
        mean = load.sum() / ranks
        before = np.abs(np.bincount(cluster, weights=load, minlength=ranks) - mean).sum()
        improve(load, cluster, ranks, most)
        after = np.abs(np.bincount(cluster, weights=load, minlength=ranks) - mean).sum()
        size = np.bincount(cluster, minlength=ranks)
        assert size.min() >= 1
        assert size.max() <= most
        assert after <= before + 1e-9


def test_remap_is_greedy_on_cost_not_on_tokens(make_tiny):
    """Reading an expert takes as long as 6 of load: the costs are 8 and five times 6."""
    problem = make_tiny([[8, 5, 4, 3, 1, 1]], 3)
    _, read_s, token_s = problem.compute_constants
    step = problem.replace(tokens_per_rank=round(22 / 6 * read_s / token_s / 3))
    # By cost 8 | 6 | 6, then 6 to rank 1, 6 to rank 2, 6 to rank 0.
    assert held(remap(step, Run(), None).placement) == [[0, 5], [1, 3], [2, 4]]
    # By tokens 8 | 5 | 4, then 3 to rank 2, 1 to rank 1, 1 to rank 0.
    assert held(huang_greedy(step, Run(), None).placement) == [[0, 5], [1, 4], [2, 3]]


def test_remap_deals_out_experts_that_all_wait_for_their_weights(make_tiny):
    """With equal costs the experts go by tokens: 8 | 7, then 6 | 5 to the ranks in turn."""
    problem = make_tiny([[5, 6, 7, 8]], 2).replace(tokens_per_rank=1)
    _, read_s, token_s = problem.compute_constants
    assert read_s > 2 * token_s
    assert held(remap(problem, Run(), None).placement) == [[1, 3], [0, 2]]


def test_dup_steps():
    """Rank 0 has 12 + 4, rank 1 has 2 + 2; each copy is the one that leaves the least maximum."""
    holds, load = two_ranks(), np.array([12.0, 4.0, 2.0, 2.0])
    # Copy of 0 on rank 1: 6 + 4 | 6 + 2 + 2 = 10 | 10. Copy of 1: 12 + 2 | 6 = 14.
    duplicate(holds, load, lambda served: served, 1, 3)
    assert holds[1].tolist() == [True, False, True, True]
    # Next: 1 on rank 1 leaves 8 | 12, 2 or 3 on rank 0 leaves 11 | 9: nothing is below 10.
    duplicate(holds, load, lambda served: served, 5, 4)
    assert holds.sum() == 5


def test_dup_copies_nothing_that_only_adds_weight_reads(make_tiny):
    """Where every expert waits for its weights, a copy costs its rank a read and spares none."""
    problem = make_tiny([[9, 1, 1, 1]], 2, redundant=2).replace(tokens_per_rank=1)
    assert held(dup(problem, Run(), None).placement) == [[0, 1], [2, 3]]
    busy = problem.replace(tokens_per_rank=100_000)
    assert held(dup(busy, Run(), None).placement)[1] == [0, 2, 3]


def test_shadowing_stops_when_latency_stops_falling():
    """Every shadow takes its load off the fullest rank and costs each rank a read of 3."""
    holds, load = two_ranks(), np.array([12.0, 4.0, 3.0, 1.0])
    constants = (1.0, 0.5, 3.0)
    # None: 16 · (1 + 0.5) = 24. Shadow 0: own 4, local 6, one read: 4 + 6 + 2 + 3 = 15.
    # Shadow 1 as well: own 3 + 1 = 4 (rank 1), local 8, two reads: 4 + 8 + 2 + 6 = 20. Stop at one.
    expected = {(): 24.0, (0,): 15.0, (0, 1): 20.0}
    for chosen, latency in expected.items():
        assert shadow_latency_s(holds, load, np.isin(ROW, chosen), *constants) == latency
    assert np.flatnonzero(shadows(holds, load, constants, 4, 4)).tolist() == [0]
    # Where only the exchange takes time: 16, then 4, and 4 again with expert 1 is no gain.
    assert np.flatnonzero(shadows(holds, load, (0.0, 1.0, 0.0), 4, 4)).tolist() == [0]
    # Where reads are free and rank 1 has nothing: 16, 4 and 0 exchanged, 16, 10 and 8 computed.
    load = np.array([12.0, 4.0, 0.0, 0.0])
    assert np.flatnonzero(shadows(holds, load, (1.0, 1.0, 0.0), 4, 4)).tolist() == [0, 1]


def test_shadowing_needs_a_slot_on_every_other_rank(make_tiny):
    """With 3 ranks a shadow takes two redundant slots: none from 1, one from 2 or 3."""
    for redundant, shadowed in ((1, 0), (2, 1), (3, 1)):
        problem = make_tiny([[90, 1, 1, 1, 1, 1]], 3, redundant=redundant, slots_per_rank=4)
        problem = problem.replace(tokens_per_rank=100_000)
        placement = fastermoe_shadowing(problem, Run(), None).placement
        assert (placement.replica_count[0] == 3).sum() == shadowed


def test_lazarus_replica_formula():
    """Loads 1, 2, 3, 6 and 8 slots; ascending, each gets its share of what is left, at least 1."""
    # 1/12 · 8 = 0.67 → 1; 2/11 · 7 = 1.27 → 1; 3/9 · 6 = 2; 6/6 · 4 = 4.
    assert replica_counts(np.array([1.0, 2.0, 3.0, 6.0]), 8, 8).tolist() == [1, 1, 2, 4]
    # At most 3 of one: the replica that is over goes to the most loaded replicas, 2 of expert 1.
    assert replica_counts(np.array([1.0, 2.0, 3.0, 6.0]), 8, 3).tolist() == [1, 2, 2, 3]
    assert replica_counts(np.array([0.0, 0.0, 5.0]), 6, 6).tolist() == [1, 1, 4]


def test_lazarus_overlap():
    """Groups of c = 2: experts 0 and 1 together on one rank, 2 and 3 on two, the rest after."""
    count, load = np.array([1, 1, 2, 4]), np.array([1.0, 2.0, 3.0, 6.0])
    holds = overlapping(count, load, 4, 2)
    # Rank 0 is full with 0 and 1, ranks 1 and 2 hold 2 and 3; of the two replicas of 3 that remain
    # one finds rank 3, the other no rank without expert 3 that has room.
    assert [np.flatnonzero(row).tolist() for row in holds] == [[0, 1], [2, 3], [2, 3], [3]]
    # The ranks of an expert lie within those of the next one of its group.
    assert not (holds[:, 2] & ~holds[:, 3]).any()


def test_amd_swaps_the_fullest_with_the_lightest():
    """9, 5 | 3, 1 with mean 9: 5 for 1 leaves 10 | 8, 9 for 3 leaves 8 | 10; then it ends."""
    holds, load = two_ranks(), np.array([9.0, 5.0, 3.0, 1.0])
    swap_towards_mean(holds, load, 0.0, 10)
    assert sorted((holds @ load).tolist()) == [8.0, 10.0]
    assert (holds ^ two_ranks()).sum() == 4  # one swap: two left, two came


def test_amd_counts_what_it_moves(make_tiny):
    """The swap lowers the maximum from 14 to 10 for one expert received: worth it below 4."""
    load = np.array([9.0, 5.0, 3.0, 1.0])
    for move_cost, swaps in ((3.9, 1), (4.1, 0)):
        holds = two_ranks()
        swap_towards_mean(holds, load, move_cost, 10)
        assert (holds ^ two_ranks()).sum() == 4 * swaps


def test_amd_leaves_its_own_map_as_it_is(make_tiny):
    """Where swaps at no cost ended, it moves nothing."""
    load = np.random.default_rng(0).gamma(0.5, size=(2, 24))
    problem = make_tiny(load, 4)
    free = amd_swap(problem, Run(), None).placement
    again = amd_swap(problem, Run(), free).placement
    np.testing.assert_array_equal(again.expert_of_slot, free.canonical().expert_of_slot)


@pytest.mark.parametrize("solver", [huang_greedy, remap, dup, fastermoe_shadowing])
def test_layers_do_not_touch_each_other(make_tiny, solver):
    """A layer gets the same map whatever the other layers are."""
    load = np.random.default_rng(1).gamma(0.5, size=(3, 12))
    together = solver(make_tiny(load, 3, redundant=3), Run(), None).placement
    alone = solver(make_tiny(load[1:2], 3, redundant=3), Run(), None).placement
    np.testing.assert_array_equal(together.expert_of_slot[1], alone.expert_of_slot[0])
