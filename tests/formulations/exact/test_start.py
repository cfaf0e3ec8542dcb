"""Perfectly even loads, and what may be assumed of placements."""

from __future__ import annotations

from itertools import permutations

import numpy as np

from moeplace.formulations.exact.pair_partition import deal_pairs
from moeplace.formulations.exact.symmetry import rank_symmetry
from moeplace.formulations.heuristics.balance import max_rank_load
from moeplace.formulations.solver import Run
from moeplace.placement import Placement, evaluate
from tests.reference.instances import random_placement, random_problem


def test_dealing_pairs_reaches_even_loads():
    """Where an even deal exists it is found, replicas stay apart and nothing is lost."""
    rng = np.random.default_rng(0)
    reached = 0
    for _ in range(6):
        ranks, slots = 4, 7
        load = rng.integers(100, 1000, (1, ranks * slots - 3)).astype(float)
        table = np.full(ranks * slots, -1, np.int32)
        table[: load.size] = rng.permutation(load.size)
        table[-1], table[-8] = table[0], table[1]  # two experts with a second replica
        load[0, 0] += -load.sum() % ranks
        table = table[None]
        bound = load.sum(axis=1) / ranks
        dealt = deal_pairs(load, table, ranks, bound, Run())
        before, after = (max_rank_load(load, t, ranks)[0] for t in (table, dealt))
        assert after <= before
        assert sorted(dealt[0]) == sorted(table[0])
        for held in dealt.reshape(ranks, slots):
            experts = held[held >= 0]
            assert np.unique(experts).size == experts.size
        reached += after <= bound[0] * (1 + 1e-6)
    assert reached >= 4


def test_renamings_change_no_cost():
    """Swapping ranks of a class, or going home, leaves the objective as it is."""
    used = 0
    for seed in range(60):
        rng = np.random.default_rng(seed)
        problem = random_problem(rng, dispatch="even", max_layers=1)
        symmetry = rank_symmetry(problem)
        placement = random_placement(rng, problem)
        value = evaluate(problem, placement).objective
        renamings = [home for home in symmetry.home if (home != np.arange(home.size)).any()]
        for members in symmetry.classes:
            for image in list(permutations(members))[1:3]:
                renaming = np.arange(problem.num_ranks)
                renaming[members] = image
                renamings.append(renaming)
        for renaming in renamings:
            new_rank = renaming[placement.rank_of_slot]
            order = np.argsort(new_rank, kind="stable")
            renamed = Placement(
                placement.expert_of_slot[:, order],
                new_rank[order].astype(np.int32),
                problem.num_experts,
                problem.num_ranks,
                problem.workload.layer_ids,
            )
            assert np.isclose(evaluate(problem, renamed).objective, value, rtol=1e-9, atol=0.0)
            used += 1
    assert used > 60


def test_canonical_twins_keep_the_rules():
    """The first expert is at home and ranks of a class are in order of their first experts."""
    for seed in range(30):
        rng = np.random.default_rng(seed)
        problem = random_problem(rng, dispatch="even", max_layers=1)
        symmetry = rank_symmetry(problem)
        held = random_placement(rng, problem).replicas_on_rank[0] > 0
        twin = symmetry.canonical(held)
        assert sorted(held.sum(axis=1)) == sorted(twin.sum(axis=1))
        assert twin[0, symmetry.first].any()
        first = np.where(twin.any(axis=0), twin.argmax(axis=0), twin.shape[0])
        for members in symmetry.classes:
            assert (np.diff(first[members]) >= 0).all()
