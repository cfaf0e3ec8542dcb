from __future__ import annotations

from functools import cache
from itertools import combinations, product

import numpy as np
import pulp
import pytest

from moeplace.formulations.bounds.load import load_bound, max_rank_pairs_bound
from moeplace.formulations.registry import load_solver
from moeplace.formulations.solver import Run
from moeplace.placement import Placement, evaluate, violations

EXACT = ("exact-cpsat", "exact-pulp", "exact-milp")


@cache
def _rank_sets(ranks: int) -> tuple[tuple[int, ...], ...]:
    """Return all non-empty sets of ranks an expert can lie on."""
    return tuple(c for n in range(1, ranks + 1) for c in combinations(range(ranks), n))


def brute_force(load, ranks, slots, max_replicas):
    """Return the smallest largest rank load over all placements of one layer, enumerated."""
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
    for case in range(40):
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


def test_all_backends_reach_the_optimum_of_enumeration(make_tiny):
    """CP-SAT, CBC and HiGHS prove what enumeration finds; no bound exceeds it."""
    instances = list(_instances())
    assert len(instances) >= 36
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


@pytest.mark.parametrize("name", EXACT)
def test_layers_add_up(make_tiny, name):
    """Value and bound are sums over layers, in pairs of a step."""
    load = np.array([[9.0, 5, 5, 2], [4, 4, 4, 4], [30, 1, 1, 1]])
    together = load_solver(name)(make_tiny(load, 2, redundant=1), Run(), None)
    alone = [load_solver(name)(make_tiny([q], 2, redundant=1), Run(), None) for q in load]
    assert together.lower_bound == pytest.approx(sum(s.lower_bound for s in alone))
    assert together.optimal
    assert together.limit == ""


@pytest.mark.parametrize("name", EXACT)
def test_out_of_time_keeps_the_start_and_a_valid_bound(make_tiny, name):
    """Without time the placement is the heuristic's, the bound the load bound."""
    load = np.random.default_rng(0).integers(1, 10_000, (3, 40))
    problem = make_tiny(load, 7, redundant=9)
    solved = load_solver(name)(problem, Run(time_limit_s=1e-6), None)
    assert violations(problem, solved.placement) == []
    assert solved.limit == "time"
    assert not solved.optimal
    assert solved.lower_bound == pytest.approx(load_bound(problem).total)
    assert solved.lower_bound <= evaluate(problem, solved.placement).objective


@pytest.mark.parametrize("name", EXACT)
def test_a_short_limit_still_gives_a_bound(make_tiny, name):
    """Stopped in the middle, value and bound bracket the optimum."""
    load = np.random.default_rng(1).integers(1, 10_000, (1, 24))
    problem = make_tiny(load, 6, redundant=3)
    solved = load_solver(name)(problem, Run(time_limit_s=0.5), None)
    value = evaluate(problem, solved.placement).objective
    assert load_bound(problem).total * (1 - 1e-9) <= solved.lower_bound <= value
    assert violations(problem, solved.placement) == []


def test_a_solver_that_dies_keeps_the_start_and_a_valid_bound(make_tiny, monkeypatch):
    """CBC may end without an answer: the layer is left to the heuristic and nothing is proven."""

    def die(*_args, **_options):
        raise pulp.PulpSolverError("killed")

    monkeypatch.setattr(pulp.LpProblem, "solve", die)
    problem = make_tiny(np.random.default_rng(2).random((2, 12)), 4, redundant=2)
    solved = load_solver("exact-pulp")(problem, Run(), None)
    assert not solved.optimal
    assert violations(problem, solved.placement) == []
    assert 0 < solved.lower_bound <= evaluate(problem, solved.placement).objective


@pytest.mark.parametrize("name", EXACT)
def test_a_layer_too_large_for_the_model_is_left_to_the_heuristic(make_tiny, name):
    """Models beyond the size limit are not built; the limit is named."""
    load = np.random.default_rng(2).integers(1, 10_000, (1, 300))
    problem = make_tiny(load, 40, redundant=20)
    solved = load_solver(name)(problem, Run(), None)
    assert solved.limit == "size"
    assert not solved.optimal
    assert violations(problem, solved.placement) == []


@pytest.mark.parametrize("name", EXACT)
def test_the_start_is_never_worsened(make_tiny, name):
    """A feasible initial placement is kept if nothing better is found, also with gaps."""
    problem = make_tiny([[6.0, 5, 4, 3, 2, 1]], 3, slots_per_rank=3)
    best = Placement.from_rank_of_expert([[0, 1, 2, 2, 1, 0]], num_ranks=3)
    solved = load_solver(name)(problem, Run(time_limit_s=1e-6), best)
    assert evaluate(problem, solved.placement).objective == evaluate(problem, best).objective
    doubled = Placement(np.array([[0, 0, 1, 2, 3, 4]]), best.rank_of_slot, 6, 3)
    assert load_solver(name)(problem, Run(), doubled).optimal


def test_fractional_loads_too_are_bounded_from_below(make_tiny):
    """Loads that are no whole numbers are rounded down: the bound stays below the optimum."""
    load = np.random.default_rng(3).random((1, 6)) * np.pi
    problem = make_tiny(load, 3, redundant=2)
    solved = load_solver("exact-cpsat")(problem, Run(), None)
    value = evaluate(problem, solved.placement).objective
    assert solved.optimal
    assert value * (1 - 1e-8) <= solved.lower_bound <= value
