from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from moeplace.errors import InfeasibleError
from moeplace.formulations.heuristics.balance import balanced_table, max_rank_load
from moeplace.formulations.heuristics.lpt import balance_swaps, greedy_replicas, lpt, lpt_table
from moeplace.formulations.solver import Run
from moeplace.placement import violations
from moeplace.traces.shipped import shipped_workload


def assert_holds(table, count, ranks):
    """Each row has exactly these replicas, none twice on a rank."""
    for row, wanted in zip(table, count, strict=True):
        assert np.bincount(row[row >= 0], minlength=wanted.size).tolist() == wanted.tolist()
        for held in row.reshape(ranks, -1):
            assert len(set(held[held >= 0])) == (held >= 0).sum()


def test_greedy_counts_are_optimal_for_the_largest_replica():
    """No count vector has a smaller largest load per replica (enumeration)."""
    generator = np.random.default_rng(1)
    for _ in range(20):
        load = generator.integers(0, 50, (1, 4)).astype(float)
        best = min(
            (load[0] / np.array(c)).max() for c in product(range(1, 5), repeat=4) if sum(c) <= 7
        )
        assert (load / greedy_replicas(load, 7)).max() == best


def test_greedy_counts_keep_their_limits():
    """At most R replicas of an expert, none for experts without load unless asked to fill."""
    load = np.array([[8.0, 1.0, 0.0, 0.0]])
    assert greedy_replicas(load, 9).tolist() == [[6, 1, 1, 1]]
    assert greedy_replicas(load, 9, 3).tolist() == [[3, 3, 1, 1]]
    assert greedy_replicas(load, 9, 3, fill=True).tolist() == [[3, 3, 2, 1]]
    assert greedy_replicas(load, 99, 2, fill=True).tolist() == [[2, 2, 2, 2]]
    assert greedy_replicas(load, 99, 1).tolist() == [[1, 1, 1, 1]]
    with pytest.raises(InfeasibleError):
        greedy_replicas(load, 3)


def test_packing_succeeds_whenever_the_replicas_fit():
    """Full slots and many replicas get LPT stuck; the repair always finds room."""
    generator = np.random.default_rng(2)
    for _ in range(300):
        ranks, experts = int(generator.integers(2, 6)), int(generator.integers(2, 7))
        count = generator.integers(1, ranks + 1, (1, experts))
        slots = -(-int(count.sum()) // ranks)
        load = generator.integers(0, 30, (1, experts)).astype(float)
        assert_holds(lpt_table(load, count, ranks, slots), count, ranks)


def test_repair_is_needed_and_works():
    """Two heavy experts fill rank 1; the last one's two replicas only fit after a move."""
    load, count = np.array([[10.0, 1.0, 1.0]]), np.array([[1, 1, 2]])
    assert_holds(lpt_table(load, count, 2, 2), count, 2)


def test_replicas_that_cannot_fit_are_refused():
    """More replicas than ranks or slots is an InfeasibleError."""
    load = np.ones((1, 3))
    with pytest.raises(InfeasibleError):
        lpt_table(load, np.array([[3, 1, 1]]), 2, 4)
    with pytest.raises(InfeasibleError):
        lpt_table(load, np.array([[2, 2, 1]]), 2, 2)


def test_swaps_never_hurt_and_keep_the_counts():
    """Swaps lower the fullest rank's load, or leave it, with the same replicas."""
    generator = np.random.default_rng(3)
    load = generator.pareto(1.0, (20, 24)) + 0.1
    count = greedy_replicas(load, 32, 8)
    table = lpt_table(load, count, 8, 5)
    better = balance_swaps(load, table, 8)
    assert_holds(better, count, 8)
    before, after = max_rank_load(load, table, 8), max_rank_load(load, better, 8)
    assert (after <= before * (1 + 1e-12)).all()
    assert (after < before * (1 - 1e-6)).any()


def test_pairs_are_swapped_where_single_swaps_fail():
    """No 1-1 swap helps these two ranks, a 2-2 swap does."""
    load = np.array([[15.0, 1.0, 16.0, 14.0, 5.0, 10.0, 20.0, 7.0]])
    table = np.arange(8, dtype=np.int32)[None, :]
    gap = load[0, :4].sum() - load[0, 4:].sum()
    assert gap > 0
    assert not any(0 < x - y < gap for x in load[0, :4] for y in load[0, 4:])
    assert max_rank_load(load, balance_swaps(load, table, 2), 2)[0] == 44.0


def test_empty_slots_may_lie_anywhere():
    """A table with gaps is taken as it is."""
    load = np.array([[4.0, 3.0, 2.0, 1.0]])
    table = np.array([[-1, 0, 1, -1, -1, -1, 2, 3]], np.int32)
    better = balance_swaps(load, table, 2)
    assert max_rank_load(load, better, 2)[0] == 5.0


def test_exchange_changes_the_replica_counts():
    """Where greedy counts pack badly, another expert is replicated."""
    load = np.array([[11.0, 8.0, 7.0, 4.0]])
    greedy = lpt_table(load, greedy_replicas(load, 5, 2), 2, 3)
    best = balanced_table(load, 2, 3, 5)
    assert max_rank_load(load, balance_swaps(load, greedy, 2), 2)[0] == 16.5
    assert max_rank_load(load, best, 2)[0] == 15.0


def test_balance_of_measured_loads_is_near_the_bound():
    """DeepSeek-V3 prefill, 288 replicas on 32 ranks: every layer within 0.1 % of the mean load."""
    load = shipped_workload("deepseek-v3/prefill_in4096").load
    table = balanced_table(load, 32, 9, 288)
    assert (max_rank_load(load, table, 32) <= load.sum(axis=1) / 32 * 1.001).all()


def test_solver_is_feasible_and_uses_its_replicas(make_tiny):
    """The solver keeps every rule and replicates what is loaded."""
    problem = make_tiny([[100.0, 10, 10, 10, 10, 10], [1, 1, 1, 1, 1, 1]], 4, redundant=3)
    placement = lpt(problem, Run(), None).placement
    assert violations(problem, placement) == []
    assert placement.replica_count[0, 0] == 4
    assert (placement.replica_count.sum(axis=1) == 9).all()
