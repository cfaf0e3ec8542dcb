"""A bound is a theorem: no placement of any instance lies below it."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

import numpy as np
import pytest

from moeplace import Placement, evaluate, lower_bound, solve, violations
from moeplace.placement import DISPATCH_POLICIES, make_problem
from moeplace.traces import Workload
from tests.reference.brute_force import all_rows, optimum, slot_row
from tests.reference.instances import (
    DEDUPS,
    OBJECTIVES,
    random_problem,
    tiny_mesh,
    tiny_model,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from moeplace.placement import Problem

ROUNDING = 1 + 1e-9
PAIRS = [(dedup, dispatch) for dedup in DEDUPS for dispatch in DISPATCH_POLICIES]
Ratios = dict[str, list[float]]


def instance(seed: int, experts: int, ranks: int) -> Problem:
    """Return a random layer; consecutive seeds take turns in kernels and policies."""
    dedup, dispatch = PAIRS[seed % len(PAIRS)]
    return random_problem(
        np.random.default_rng(seed),
        max_experts=experts,
        max_ranks=ranks,
        max_layers=1,
        max_redundant=2,
        dedup=dedup,
        dispatch=dispatch,
    )


def over(value: float, reference: float) -> float:
    """Return a ratio in which nothing over nothing is one."""
    return 1.0 if value == reference == 0 else value / reference


def check_bounds(problems: Iterable[Problem], effort: str = "fast") -> Ratios:
    """Compare the bound with the optimum for every objective; return bound / optimum."""
    ratios: Ratios = defaultdict(list)
    for number, problem in enumerate(problems):
        for name, (least, placement) in optimum(problem).items():
            bound = lower_bound(problem.replace(objective=name), effort)
            assert bound.value <= least * ROUNDING, (
                f"instance {number}, {name}: bound {bound.value} by {bound.method} > optimum "
                f"{least} of {placement.expert_of_slot.tolist()}; {problem.dedup}, "
                f"{problem.dispatch}, {problem.system.name}, redundant {problem.redundant}"
            )
            assert bound.value == pytest.approx(bound.layer_value.sum())
            ratios[name].append(over(bound.value, least))
    return ratios


def check_solver(problems: Iterable[Problem], solver: str) -> Ratios:
    """Compare a solver with the optimum for every objective; return value / optimum."""
    ratios: Ratios = defaultdict(list)
    for problem in problems:
        for name, (least, _) in optimum(problem).items():
            value = solve(problem.replace(objective=name), solver).score.objective
            assert value * ROUNDING >= least, (name, problem.dedup, problem.dispatch)
            if least > 0:
                ratios[name].append(value / least)
            else:
                ratios[name + " left at zero"].append(float(value == 0))
    return ratios


def tell(what: str, ratios: Ratios) -> None:
    """Print one line per objective (shown by ``pytest -s`` and in reports)."""
    for name, values in ratios.items():
        array = np.array(values)
        print(f"{what} {name}: mean {array.mean():.4f} over {array.size}, {array.min():.4f} to "
              f"{array.max():.4f}, exact in {np.mean(abs(array - 1) < 1e-6):.1%}")  # fmt: skip


@pytest.mark.parametrize("dispatch", DISPATCH_POLICIES)
@pytest.mark.parametrize("dedup", DEDUPS)
def test_never_above_the_optimum(dedup, dispatch):
    """On 16 tiny instances per kernel and policy no placement lies below the bound."""
    first = PAIRS.index((dedup, dispatch))
    check_bounds(instance(seed, 4, 3) for seed in range(first, 16 * len(PAIRS), len(PAIRS)))


@pytest.mark.slow
@pytest.mark.parametrize("dispatch", DISPATCH_POLICIES)
@pytest.mark.parametrize("dedup", DEDUPS)
def test_never_above_the_optimum_on_many(dedup, dispatch):
    """The same on 100 instances each, and on 10 larger ones each; prints how tight it is."""
    step, first = len(PAIRS), PAIRS.index((dedup, dispatch))
    small = (instance(seed, 4, 3) for seed in range(1200 + first, 1200 + 100 * step, step))
    ratios = check_bounds(small)
    large = (instance(seed, 5, 4) for seed in range(first, 10 * step, step))
    for name, values in check_bounds(large).items():
        ratios[name] += values
    tell(f"bound / optimum, {dedup}, {dispatch},", ratios)


@pytest.mark.parametrize("dispatch", DISPATCH_POLICIES)
def test_strong_never_above_the_optimum(dispatch):
    """The same for strong bounds: four instances per policy, one of each kernel."""
    seeds = [s for s in range(len(PAIRS)) if PAIRS[s][1] == dispatch]
    check_bounds((instance(seed + 7 * len(PAIRS), 4, 3) for seed in seeds), "strong")


@pytest.mark.slow
@pytest.mark.parametrize("dispatch", DISPATCH_POLICIES)
def test_strong_never_above_the_optimum_on_many(dispatch):
    """And on 120 instances per policy, some larger; on the average close to it."""
    seeds = [s for s in range(5000, 5600) if PAIRS[s % len(PAIRS)][1] == dispatch]
    ratios = check_bounds((instance(s, 4 + (s % 5 == 0), 3) for s in seeds), "strong")
    tell(f"strong bound / optimum, {dispatch},", ratios)
    own = dispatch in ("nearest", "rank_modulo")  # link averages, as ranks may serve themselves
    least = 0.85 if own else 0.9
    assert np.mean([value for values in ratios.values() for value in values]) >= least


@pytest.mark.parametrize("effort", ["fast", "strong"])
def test_never_above_the_optimum_within_a_load_limit(effort):
    """With a limit on the fullest rank the best placement that keeps it is not below the bound."""
    rng = np.random.default_rng(12)
    compared = 0
    for seed in range(14):
        problem = instance(2 * len(PAIRS) + seed, 4, 3)
        limit = float(rng.uniform(1.02, 1.6))
        rows = [slot_row(problem, row) for row in all_rows(problem)]
        placements = [placement_of(problem, row) for row in rows]
        capped = problem.replace(max_load=limit)
        kept = [p for p in placements if not violations(capped, p)]
        for name in OBJECTIVES:
            if kept:
                least = min(evaluate(capped.replace(objective=name), p).objective for p in kept)
                value = lower_bound(capped.replace(objective=name), effort).value
                assert value <= least * ROUNDING, (seed, name)
                compared += 1
    assert compared >= 20


def placement_of(problem: Problem, row: list[int]) -> Placement:
    """Return one layer's placement of its slots."""
    return Placement(
        np.array([row], np.int32),
        problem.rank_of_slot,
        problem.num_experts,
        problem.num_ranks,
        problem.workload.layer_ids,
    )


def test_auto_against_the_optimum():
    """The default solver is never below the optimum and on the average within a tenth of it."""
    ratios = check_solver((instance(seed, 4, 3) for seed in range(len(PAIRS))), "auto")
    assert sum(len(values) for values in ratios.values()) == len(PAIRS) * len(OBJECTIVES)
    for name in OBJECTIVES:
        assert np.mean(ratios[name]) <= 1.10, name


@pytest.mark.slow
@pytest.mark.parametrize("dispatch", DISPATCH_POLICIES)
def test_auto_against_many_optima(dispatch):
    """The same on 60 instances per policy; prints the mean of auto / optimum."""
    seeds = [s for s in range(3000, 3300) if PAIRS[s % len(PAIRS)][1] == dispatch]
    ratios = check_solver((instance(seed, 4, 3) for seed in seeds), "auto")
    tell(f"auto / optimum, {dispatch},", ratios)
    for name in OBJECTIVES:
        assert np.mean(ratios[name]) <= 1.10, name


@pytest.mark.parametrize(
    ("redundant", "slots_per_rank", "count"),
    [(0, 1, 2), (0, 2, 4), (1, 2, 8), (2, 2, 9)],
)
def test_enumeration_is_complete(redundant, slots_per_rank, count):
    """Two experts on two ranks, by hand: apart, together, one on both, both on both."""
    problem = make_problem(
        tiny_model(2, 1),
        tiny_mesh(1, 2),
        Workload.from_loads([[1.0, 2.0]], top_k=1),
        redundant=redundant,
        slots_per_rank=slots_per_rank,
        dedup="none",
    )
    rows = list(all_rows(problem))
    assert len(rows) == len(set(rows)) == count
