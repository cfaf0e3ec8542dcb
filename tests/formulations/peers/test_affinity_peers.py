"""Peers that know which experts go together: small cases worked out by hand."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from moeplace.errors import InputError
from moeplace.formulations.compare import default_solvers
from moeplace.formulations.peers.grace import bounded, controlled, copy_hottest, knee
from moeplace.formulations.peers.hiermoe import fullest_share, hiermoe, level_factors
from moeplace.formulations.peers.hiermoe_kernels import GAMMA, LEAST_GAIN, swap_experts
from moeplace.formulations.peers.huang import correlation, greedy_ranks
from moeplace.formulations.peers.occult import collaborating_ranks, seeds
from moeplace.formulations.peers.spectral import spectral_clusters
from moeplace.formulations.registry import SOLVERS, load_solver
from moeplace.formulations.solver import Run
from moeplace.traces import TokenSets


def two_cliques():
    """Experts 0, 2, 4 go together, and 1, 3, 5; 0 and 1 a little."""
    affinity = np.zeros((6, 6))
    for group in ((0, 2, 4), (1, 3, 5)):
        affinity[np.ix_(group, group)] = 10.0
    affinity[0, 1] = affinity[1, 0] = 1.0
    np.fill_diagonal(affinity, 0.0)
    return affinity


def parts(cluster):
    """Return the groups as a set of sets."""
    return {frozenset(np.flatnonzero(cluster == c).tolist()) for c in np.unique(cluster)}


def test_correlation_by_hand():
    """Experts 0, 1 always together, 2, 3 otherwise: ρ = 1 inside, −1 across."""
    sets = TokenSets(np.array([[0, 1], [2, 3]]), np.array([1.0, 3.0]))
    rho = correlation(sets, 5)
    # P(0) = P(1) = P(0, 1) = 1/4: (1/4 − 1/16) / (1/4 · 3/4) = 1; P(0, 2) = 0: −3/16 / 3/16 = −1.
    np.testing.assert_allclose(rho[0, 1:], [1.0, -1.0, -1.0, 0.0])
    always = TokenSets(np.array([[0, 1]]), np.array([2.0]))
    assert not correlation(always, 2).any()


def test_anticorrelation_parts_what_goes_together():
    """Equal loads: greedy deals 0, 2 | 1, 3; against correlation 0 avoids the 2 it goes with."""
    load, pair_cost = np.full(4, 0.25), np.zeros((4, 4))
    assert greedy_ranks(load, 2).tolist() == [0, 1, 0, 1]
    pair_cost[0, 2] = pair_cost[2, 0] = 0.5
    # 0 → r0 (0), 1 → r1 (0), 2: r0 costs 0.25 + 0.5, r1 0.25 → r1, 3 → r0.
    assert greedy_ranks(load, 2, pair_cost).tolist() == [0, 1, 1, 0]


def test_occult_seeds_are_far_apart():
    """Least collaboration in all: 3 and 5 with 20, the first is 3; least with 3: 0, the first."""
    affinity = two_cliques()
    affinity[2, 4] = affinity[4, 2] = 12.0  # sums: 0 and 1: 21, 2 and 4: 22, 3 and 5: 20
    assert seeds(affinity, 2) == [3, 0]
    assert len(set(seeds(affinity, 6))) == 6


def test_occult_grows_groups_by_collaboration():
    """From the seeds 3 and 0 each rank takes its clique; sizes are equal within one."""
    assert parts(collaborating_ranks(two_cliques(), 2)) == {
        frozenset({0, 2, 4}),
        frozenset({1, 3, 5}),
    }
    for ranks in range(1, 9):
        size = np.bincount(collaborating_ranks(two_cliques(), ranks), minlength=ranks)
        assert np.ptp(size) <= 1


def test_spectral_clusters_find_cliques():
    """Two cliques with a weak tie are the two clusters; without any tie too."""
    affinity = two_cliques()
    for tie in (1.0, 0.0):
        affinity[0, 1] = affinity[1, 0] = tie
        assert parts(spectral_clusters(affinity, 2)) == parts(np.array([0, 1, 0, 1, 0, 1]))
    assert spectral_clusters(np.zeros((4, 4)), 2).max() < 2


def test_grace_bounds_sizes_where_affinity_loses_least():
    """Of {0, 2, 4, 1} the expert 1 hangs on by 1 alone: it leaves, and joins its clique."""
    cluster = np.array([0, 0, 0, 1, 0, 1])
    assert bounded(two_cliques(), cluster, 1, np.array([3, 3])).tolist() == [0, 1, 0, 1, 0, 1]
    # An empty third group takes the least attached expert: each has 20 to its own, so the first.
    least = bounded(two_cliques(), np.array([0, 1, 0, 1, 0, 1]), 1, np.array([3, 3, 3]))
    assert least.tolist() == [2, 1, 0, 1, 0, 1]


def test_grace_sizes_stay_within_the_slots():
    """Any affinity: every group has 1 expert at least, and what the slots allow at most."""
    generator = np.random.default_rng(5)
    for _ in range(30):
        groups, experts = int(generator.integers(1, 5)), int(generator.integers(5, 14))
        affinity = generator.gamma(0.2, size=(experts, experts))
        affinity = np.triu(affinity, 1) + np.triu(affinity, 1).T
        slots = -(-experts // groups) + int(generator.integers(0, 3))
        size = np.bincount(controlled(affinity, groups, slots), minlength=groups)
        assert size.min() >= 1
        assert size.max() <= slots


def test_knee():
    """0 → 0, half the cost for 0.9 of the gain, all: the middle lies farthest above the line."""
    assert knee(np.array([0.0, 1.0, 2.0]), np.array([5.0, 14.0, 15.0])) == 1
    assert knee(np.array([1.0, 1.0]), np.array([3.0, 4.0])) == 1
    assert knee(np.array([1.0, 0.0]), np.array([3.0, 3.0])) == 1


def test_grace_copies_the_hottest_experts_of_the_heaviest_rank():
    """Loads 10 + 4 | 1 | 1, mean 16/3: ρ = 2.6, so two copies of what makes up 14 · 2/3 = 9.3."""
    start = np.array([[1, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]], bool)
    load = np.array([10.0, 4.0, 1.0, 1.0])
    holds = start.copy()
    copy_hottest(holds, load, 9, 3)  # 10 ≥ 9.3: expert 0 alone, on ranks 1 and 2
    assert holds.sum(axis=0).tolist() == [3, 1, 1, 1]
    holds = start.copy()
    copy_hottest(holds, load, 1, 3)  # one spare replica: the first of the two lightest ranks
    assert holds[:, 0].tolist() == [True, True, False]
    holds = start.copy()
    copy_hottest(holds, load, 9, 1)  # no slot anywhere
    np.testing.assert_array_equal(holds, start)


def norm(ids, weight, group, num_groups):
    """Return the smooth maximum of the weights that touch each group, counted set by set."""
    tokens = np.zeros(num_groups)
    for members, w in zip(ids, weight, strict=True):
        tokens[np.unique(group[members[members >= 0]])] += w
    return float((tokens**GAMMA).sum() ** (1 / GAMMA))


def test_hiermoe_makes_the_best_swap_of_all():
    """The first swap is the best of all pairs, recounted from the sets; also over two levels."""
    generator = np.random.default_rng(7)
    for _ in range(20):
        ids = np.argsort(generator.random((30, 8)), axis=1)[:, :3].astype(np.int32)
        ids[:3, 2] = -1
        weight = generator.random(30)
        rank = generator.permutation(np.arange(8) // 2)
        group, counts = np.stack([rank // 2, rank]).astype(np.int64), np.array([2, 4])
        factor = np.array([0.3, 1.0])

        def cost(exchange, group=group, ids=ids, weight=weight, factor=factor):
            swapped = group.copy()
            swapped[:, list(exchange)] = swapped[:, list(exchange)[::-1]]
            return sum(f * norm(ids, weight, g, n) for f, g, n in
                       zip(factor, swapped, (2, 4), strict=True))  # fmt: skip

        best = min(cost(pair) for pair in combinations(range(8), 2))
        start = cost((0, 0))
        moved = group.copy()
        swaps = swap_experts(ids, weight, moved, counts, factor, 1)
        after = sum(
            f * norm(ids, weight, g, n) for f, g, n in zip(factor, moved, (2, 4), strict=True)
        )
        assert swaps == (best < start * (1 - 1e-12))
        assert after == pytest.approx(min(best, start), rel=1e-12)
        more = moved.copy()
        swap_experts(ids, weight, more, counts, factor, 50)
        np.testing.assert_array_equal(more[0], more[1] // 2)
        assert norm(ids, weight, more[1], 4) > 0
        assert LEAST_GAIN < 1e-3


def test_hiermoe_goes_in_two_levels_where_the_nodes_are_far(make_tiny):
    """U/B_slow · p_node + G/B_fast · p_rank against G/B_slow · p_rank."""
    # 4 ranks in 2 nodes, NIC 25 GB/s, link 100 GB/s, times 1e9: split 2/25 · 1 + 4/100 · 0.5 = 0.1,
    # flat 4/25 · 0.5 = 0.08; with 0.9 of the tokens on the fullest rank 0.116 against 0.144.
    problem = make_tiny(np.ones((1, 8)), 4, node_size=2)
    np.testing.assert_allclose(level_factors(problem, (1.0, 0.5)), (0.0, 0.16e-9))
    np.testing.assert_allclose(level_factors(problem, (1.0, 0.9)), (0.08e-9, 0.04e-9))
    one_node = make_tiny(np.ones((1, 8)), 4)
    np.testing.assert_allclose(level_factors(one_node, (1.0, 0.9)), (0.0, 0.04e-9))


def test_fullest_share():
    """A token with two experts of a group counts once."""
    sets = TokenSets(np.array([[0, 1], [0, 2], [3, -1]]), np.array([1.0, 2.0, 1.0]))
    assert fullest_share(sets, np.array([0, 0, 1, 1])) == 0.75


@pytest.mark.parametrize("name", [n for n, info in SOLVERS.items() if info.needs])
def test_loads_alone_are_refused(make_tiny, name):
    """What needs more than loads says so, and names the workload."""
    with pytest.raises(InputError, match="workload 'loads'"):
        load_solver(name)(make_tiny(np.ones((1, 4)), 2), Run(), None)


def test_hiermoe_keeps_to_its_time(make_tiny):
    """Out of time it leaves the layers as they are and says why."""
    problem = make_tiny(np.ones((1, 4)), 2)
    sets = TokenSets(np.arange(4, dtype=np.int32)[:, None], np.ones(4))
    problem = problem.replace(workload=problem.workload.with_token_sets([sets], "measured"))
    solved = hiermoe(problem, Run(time_limit_s=1e-9), None)
    assert solved.limit == "time"
    assert solved.placement.expert_of_slot.tolist() == [[0, 1, 2, 3]]


def test_peers_run_only_when_named(make_tiny):
    """Compare's own list is baselines and heuristics; every peer has a reference."""
    peers = {name for name, info in SOLVERS.items() if info.kind == "peer"}
    assert len(peers) >= 13
    assert not peers & set(default_solvers(make_tiny(np.ones((1, 4)), 2)))
    assert all(SOLVERS[name].reference for name in peers)
