"""Under ``stay`` execution no combination of layers lies below the bound."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from moeplace import lower_bound
from moeplace.formulations.bounds.stay import local_bound, stay_copies
from moeplace.placement import Placement, evaluate
from tests.reference.brute_force import all_rows, slot_row
from tests.reference.chains import random_stay_problem
from tests.reference.instances import DEDUPS, OBJECTIVES, random_placement

ROUNDING = 1 + 1e-9
MOST = 300  # combinations of layers


def all_placements(problem):
    """Yield every feasible placement of all layers."""
    rows = [slot_row(problem, row) for row in all_rows(problem)]
    for chosen in product(rows, repeat=problem.num_layers):
        yield Placement(
            np.array(chosen, np.int32),
            problem.rank_of_slot,
            problem.num_experts,
            problem.num_ranks,
            problem.workload.layer_ids,
        )


def small(seed, **fixed):
    """Return a random problem of one or two layers with few placements, or None."""
    rng = np.random.default_rng(seed)
    problem, _ = random_stay_problem(
        rng, max_experts=4, max_ranks=3, max_layers=2, max_redundant=1, **fixed
    )
    rows = sum(1 for _ in all_rows(problem))
    return problem if rows**problem.num_layers <= MOST else None


def check(problem):
    """Compare the bound with the best of all placements; return bound / optimum by objective."""
    least = dict.fromkeys(OBJECTIVES, np.inf)
    for placement in all_placements(problem):
        score = evaluate(problem, placement)
        for name, value in (
            ("time", score.step_time_s),
            ("balance", score.rank_load.max(axis=1).sum()),
            ("copies", score.layer_copies.sum()),
            ("hops", score.layer_hops.sum()),
        ):
            least[name] = min(least[name], float(value))
    ratios = {}
    for name, value in least.items():
        bound = lower_bound(problem.replace(objective=name))
        assert bound.value <= value * ROUNDING + 1e-12, (name, bound.method, problem.dedup)
        assert bound.value == pytest.approx(bound.layer_value.sum())
        ratios[name] = 1.0 if value <= 1e-12 else bound.value / value
    return ratios


@pytest.mark.parametrize("dedup", DEDUPS)
def test_never_above_the_optimum(dedup):
    """On six small chains per kernel no placement lies below the bound, and it says something."""
    found = []
    for seed in range(60):
        problem = small(seed, dedup=dedup)
        if problem is not None and problem.num_layers == 2 and problem.num_ranks > 1:
            found.append(check(problem))
        if len(found) == 6:
            break
    assert len(found) == 6
    assert np.mean([ratios["time"] for ratios in found]) > 0.7
    assert np.mean([ratios["copies"] for ratios in found]) > 0.4


@pytest.mark.slow
@pytest.mark.parametrize("dedup", DEDUPS)
def test_never_above_the_optimum_on_many(dedup):
    """The same on all small chains of five hundred seeds."""
    for seed in range(1000, 1500):
        problem = small(seed, dedup=dedup)
        if problem is not None:
            check(problem)


@pytest.mark.parametrize("dedup", DEDUPS)
def test_terms_hold_for_random_placements(dedup):
    """Dispatch and combine are bounded each on its own, replicas included."""
    for seed in range(60):
        rng = np.random.default_rng(seed)
        problem, _ = random_stay_problem(rng, dedup=dedup, max_layers=3)
        dispatch, _ = stay_copies(problem)
        bound = lower_bound(problem.replace(objective="time"))
        for _ in range(6):
            score = evaluate(problem, random_placement(rng, problem))
            assert (dispatch * problem.tokens <= score.layer_copies * ROUNDING + 1e-9).all()
            assert bound.terms["dispatch_s"] <= score.dispatch_s * ROUNDING
            assert bound.terms["combine_s"] <= score.combine_s * ROUNDING
            assert (bound.layer_value <= score.layer_time_s * ROUNDING).all()


def test_local_bound_is_reached_by_a_planted_placement():
    """Blocks of experts that only follow each other can all stay; scattered, less can."""
    blocks = np.kron(np.eye(3), np.ones((2, 2))) / 12
    assert local_bound(blocks, 3, 2) == pytest.approx(1.0)
    assert local_bound(np.full((6, 6), 1 / 36), 3, 2) == pytest.approx(1 / 3)
    assert local_bound(np.full((6, 6), 1 / 36), 6, 1) == pytest.approx(1 / 6)
