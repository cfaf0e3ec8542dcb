from __future__ import annotations

from functools import cache
from itertools import combinations, product

import numpy as np
import pytest

from moeplace.errors import InputError
from moeplace.formulations.bounds.load import max_rank_pairs_bound
from moeplace.formulations.registry import load_solver
from moeplace.formulations.solver import Run
from moeplace.placement import evaluate, violations

EXACT = ("exact-cpsat", "exact-pulp")


@cache
def _rank_sets(ranks: int) -> tuple[tuple[int, ...], ...]:
    """All non-empty sets of ranks an expert can lie on."""
    return tuple(c for n in range(1, ranks + 1) for c in combinations(range(ranks), n))


def brute_force(load, ranks, slots, max_replicas):
    """Smallest largest rank load over all placements of one layer, by enumeration."""
    best = np.inf
    for choice in product(_rank_sets(ranks), repeat=len(load)):
        if sum(map(len, choice)) > max_replicas:
            continue
        rank_load, used = [0.0] * ranks, [0] * ranks
        for q, held in zip(load, choice, strict=True):
            for rank in held:
                rank_load[rank] += q / len(held)
                used[rank] += 1
        if max(used) <= slots:
            best = min(best, max(rank_load))
    return best


def _instances():
    generator = np.random.default_rng(7)
    shapes = [(2, 2), (3, 2), (4, 2), (5, 2), (6, 2), (2, 3), (3, 3), (4, 3)]
    for case in range(64):
        experts, ranks = shapes[case % len(shapes)]
        redundant = int(generator.integers(0, min(3, experts * (ranks - 1)) + 1))
        slots = -(-(experts + redundant) // ranks) + int(generator.integers(0, 2))
        kind = case % 4
        if kind == 0:
            load = generator.integers(0, 10, experts).astype(float)
        elif kind == 1:
            load = np.round(1000 * generator.pareto(1.0, experts))
        elif kind == 2:
            load = generator.random(experts)
        else:
            load = generator.integers(1, 2**40, experts).astype(float)
        if load.sum() > 0:
            yield load, ranks, slots, redundant


def test_both_backends_reach_the_optimum_of_enumeration(make_tiny):
    """CP-SAT and CBC prove what enumeration finds; no bound exceeds it."""
    instances = list(_instances())
    assert len(instances) >= 60
    for load, ranks, slots, redundant in instances:
        problem = make_tiny([load], ranks, redundant=redundant, slots_per_rank=slots)
        optimum = brute_force(load, ranks, slots, problem.max_replicas)
        optimum *= problem.tokens * problem.top_k / load.sum()
        weak = max_rank_pairs_bound(
            problem.load_share * problem.tokens, ranks, slots, problem.max_replicas
        )
        assert weak.total <= optimum
        for name in EXACT:
            solved = load_solver(name)(problem, Run(), None)
            assert violations(problem, solved.placement) == []
            value = evaluate(problem, solved.placement).objective
            where = (name, load.tolist(), ranks, slots, redundant)
            assert value == pytest.approx(optimum, rel=1e-9), where
            assert solved.optimal, where
            assert solved.lower_bound <= optimum * (1 + 1e-15), where
            assert solved.lower_bound >= optimum * (1 - 1e-6), where
