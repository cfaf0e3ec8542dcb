from __future__ import annotations

import itertools

import numpy as np
import pytest

from moeplace.formulations.heuristics.movement import balance_within, few_moves
from moeplace.formulations.registry import load_solver
from moeplace.formulations.solver import Run
from moeplace.placement import evaluate, moved_replicas, violations


def places(table, experts):
    """Return (experts, ranks) whether an expert lies on a rank; refuse duplicates."""
    held = np.zeros((experts, len(table)), int)
    for rank, row in enumerate(table):
        np.add.at(held[:, rank], row[row >= 0], 1)
    assert held.max() <= 1
    return held > 0


def largest(load, held):
    """Load of the fullest rank when replicas share evenly."""
    return ((load / held.sum(axis=1))[:, None] * held).sum(axis=0).max()


def every_map(experts, ranks):
    """Return (maps, experts, ranks) all ways to put each expert on at least one rank."""
    subsets = [s for s in itertools.product([False, True], repeat=ranks) if any(s)]
    return np.array(list(itertools.product(subsets, repeat=experts)))


@pytest.mark.parametrize("redundant", [0, 1])
def test_finds_the_best_map_within_every_budget(redundant):
    """On layers small enough to try everything the search ends at the optimum."""
    rng = np.random.default_rng(3)
    maps = every_map(5, 3)
    maps = maps[(maps.sum(axis=1) <= 2).all(axis=1) & (maps.sum(axis=(1, 2)) <= 5 + redundant)]
    for _ in range(3):
        load = rng.integers(1, 30, 5).astype(float)
        row = rng.permutation(5)
        table = np.array([row[:2], row[2:4], [row[4], -1]], np.int32)
        if redundant:
            table[2, 1] = row[0]
        current = places(table, 5)
        moved = (maps & ~current).sum(axis=(1, 2))
        values = ((load / maps.sum(axis=2))[:, :, None] * maps).sum(axis=1).max(axis=1)
        for budget in range(5):
            found = table.copy()
            value = balance_within(
                load, found, current, max_moves=budget, max_replicas=5 + redundant, steps=2000
            )
            held = places(found, 5)
            assert held.any(axis=1).all()
            assert (held & ~current).sum() <= budget
            assert value == pytest.approx(largest(load, held))
            assert value == pytest.approx(values[moved <= budget].min()), (load, table, budget)


def test_a_ring_of_three_ranks():
    """Three moves in a ring reach what no exchange of two replicas can."""
    load = np.array([8.0, 5, 6, 3, 4, 1, 9, 9, 9])  # each rank: two that move and one that is there
    table = np.array([[0, 3, 6], [2, 4, 7], [5, 1, 8]], np.int32)  # 20, 19, 15
    found = table.copy()
    value = balance_within(load, found, places(table, 9), max_moves=3, max_replicas=9)
    assert value == 18
    two = table.copy()
    assert balance_within(load, two, places(table, 9), max_moves=2, max_replicas=9) > 18


def test_same_seed_same_map():
    """The search is a function of its arguments."""
    rng = np.random.default_rng(0)
    load = rng.lognormal(size=24)
    table = rng.permutation(24).astype(np.int32).reshape(6, 4)
    one, two = table.copy(), table.copy()
    for found in (one, two):
        balance_within(load, found, places(table, 24), max_moves=5, max_replicas=24, seed=7)
    assert (one == two).all()


@pytest.mark.parametrize("objective", ["balance", "time"])
def test_solve_uses_it(make_tiny, objective):
    """`auto` keeps the limit and is at least as balanced as the bounded search alone."""
    rng = np.random.default_rng(1)
    old = make_tiny(rng.lognormal(size=(2, 20)), 5, redundant=5)
    current = load_solver("lpt")(old, Run(), None).placement
    load = old.workload.load * rng.lognormal(sigma=0.5, size=(2, 20))
    fresh = make_tiny(load, 5, redundant=5, objective=objective)
    problem = fresh.replace(current=current, max_moves=3)
    alone = few_moves(problem, Run())
    assert not violations(problem, alone)
    before = evaluate(problem, current).rank_load.max(axis=1)
    after = evaluate(problem, alone).rank_load.max(axis=1)
    assert (after < before).all()
    found = load_solver("auto")(problem, Run(), None).placement
    assert (moved_replicas(found, current) <= 3).all()
    assert evaluate(problem, found).objective <= evaluate(problem, alone).objective
