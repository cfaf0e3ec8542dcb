"""Flows against linear programs, enumeration and the exact solvers."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from moeplace.errors import InfeasibleError
from moeplace.formulations.exact import linear_relaxation
from moeplace.formulations.flow import cheapest_assignment, least_peak, linear_rank_cost
from moeplace.formulations.registry import load_solver
from moeplace.formulations.solver import Run
from moeplace.placement import evaluate
from moeplace.placement.dispatch import least_load_split
from tests.reference.brute_force import optimum
from tests.reference.instances import OBJECTIVES, random_problem


def random_layer(rng):
    """Return experts and ranks of slots, loads and R, some experts on several ranks."""
    ranks, experts = int(rng.integers(2, 7)), int(rng.integers(1, 20))
    load = rng.gamma(0.5, size=experts) * 100 + 1e-3
    if rng.random() < 0.3:
        load = np.rint(load)
        load[0] += 1
    expert, rank = [], []
    for e in range(experts):
        several = int(rng.integers(1, ranks + 1)) if rng.random() < 0.5 else 1
        for r in rng.permutation(ranks)[:several]:
            expert.append(e)
            rank.append(r)
    return np.array(expert, np.int32), np.array(rank, np.int32), load, ranks


def test_closed_form_is_the_linear_program_and_the_best_set():
    """Largest ratio over all sets of ranks = the value of the split's linear program."""
    for seed in range(40):
        expert, rank, load, ranks = random_layer(np.random.default_rng(seed))
        found = least_peak(expert, rank, load, ranks)
        split = least_load_split(expert, rank, load, ranks)
        reached = np.bincount(rank, load[expert] * split, minlength=ranks).max()
        sets = [set(u) for n in range(1, ranks + 1) for u in combinations(range(ranks), n)]
        homes = [set(rank[expert == e].tolist()) for e in range(load.size)]
        ratios = [
            sum(q for q, home in zip(load, homes, strict=True) if home <= u) / len(u) for u in sets
        ]
        assert found.peak == pytest.approx(max(ratios), rel=1e-9)
        assert found.peak == pytest.approx(reached, rel=1e-8)
        named = set(np.flatnonzero(found.ranks).tolist())
        assert ratios[sets.index(named)] == pytest.approx(found.peak, rel=1e-12)


def test_an_expert_without_replica_is_refused():
    """Nothing can be split over no rank."""
    with pytest.raises(InfeasibleError, match="no replica"):
        least_peak(np.array([0], np.int32), np.array([0], np.int32), np.array([1.0, 1.0]), 2)


def test_transport_is_the_integral_linear_program():
    """Assignment, linear program and slots."""
    from scipy.optimize import linprog

    rng = np.random.default_rng(0)
    for _ in range(10):
        experts, ranks, slots = 9, 4, 3
        cost = rng.random((2, experts, ranks))
        found = cheapest_assignment(cost, slots)
        for layer in range(2):
            one = np.kron(np.eye(experts), np.ones(ranks))
            room = np.kron(np.ones(experts), np.eye(ranks))
            relaxed = linprog(
                cost[layer].ravel(), A_eq=one, b_eq=np.ones(experts), A_ub=room,
                b_ub=np.full(ranks, slots),
            )  # fmt: skip
            assert found.value[layer] == pytest.approx(relaxed.fun)
            assert np.bincount(found.rank_of_expert[layer], minlength=ranks).max() <= slots
    with pytest.raises(InfeasibleError, match="fit"):
        cheapest_assignment(np.zeros((1, 9, 4)), 2)


@pytest.mark.parametrize("objective", ["copies", "hops"])
def test_costs_without_deduplication_are_linear(objective):
    """The transportation problem's value is the optimum, replicas allowed or not."""
    for seed in range(12):
        problem = random_problem(
            np.random.default_rng(seed), objective=objective, dedup="none", dispatch="even",
            max_experts=5, max_ranks=3, max_layers=1, max_redundant=2,
        )  # fmt: skip
        cost = linear_rank_cost(problem)
        value = cheapest_assignment(cost, problem.slots_per_rank).value.sum()
        assert value == pytest.approx(optimum(problem)[objective][0], rel=1e-9)
        solved = load_solver("exact-milp")(problem, Run(), None)
        assert solved.optimal
        assert evaluate(problem, solved.placement).objective == pytest.approx(value, rel=1e-9)
    assert linear_rank_cost(problem.replace(max_load=1.5)) is None
    assert linear_rank_cost(problem.replace(objective="time")) is None
    assert linear_rank_cost(problem.replace(dedup_choice="rank")) is None


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_relaxation_is_below_the_optimum(objective):
    """The linear relaxation never exceeds the optimum and is worth something."""
    shares = []
    for seed in range(6):
        problem = random_problem(
            np.random.default_rng(seed), objective=objective, dispatch="even",
            max_experts=5, max_ranks=3, max_layers=1, max_redundant=2,
        )  # fmt: skip
        least = optimum(problem)[objective][0]
        relaxed = linear_relaxation(problem)
        assert relaxed.status == ("optimal",)
        assert relaxed.value <= least * (1 + 1e-9)
        shares.append(relaxed.value / least if least else 1.0)
    assert np.mean(shares) > 0.5
