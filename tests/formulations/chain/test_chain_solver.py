"""The solver for tokens that stay: renaming, exchanging, and what they optimize."""

from __future__ import annotations

import numpy as np
import pytest

from moeplace import evaluate, make_problem, solve
from moeplace.formulations.chain.prices import prices
from moeplace.formulations.chain.sweep import rank_flows, renamed, swept
from moeplace.formulations.heuristics.tables import without_duplicates
from moeplace.formulations.solver import Run
from moeplace.placement import make_robust
from moeplace.traces import Workload
from tests.laws.test_stay_bounds import all_placements, small
from tests.reference.chains import random_stay_problem, random_trace
from tests.reference.instances import random_placement, tiny_mesh, tiny_model


def test_flows_are_the_copies():
    """What leaves its rank in the flows is what evaluate counts, replicas included."""
    for seed in range(20):
        rng = np.random.default_rng(seed)
        problem, _ = random_stay_problem(rng, dedup=("none", "rank")[seed % 2])
        placement = random_placement(rng, problem)
        dispatch, _ = rank_flows(problem, placement)
        away = dispatch.sum(axis=(1, 2)) - np.einsum("lrr->l", dispatch)
        copies = evaluate(problem, placement).layer_copies
        np.testing.assert_allclose(away * problem.tokens, copies, rtol=1e-9, atol=1e-12)


def test_renaming_is_the_best_renaming():
    """For copies no other names of the ranks are better, by trying all (three ranks)."""
    from itertools import permutations, product

    for seed in range(6):
        rng = np.random.default_rng(seed)
        trace = random_trace(rng, 6, 2, 3, 30)
        problem = make_problem(
            tiny_model(6, 2, 3), tiny_mesh(1, 3), Workload.from_trace(trace, anchored=True),
            dedup=("rank", "none")[seed % 2], objective="copies", execution="stay",
        )  # fmt: skip
        start = random_placement(rng, problem)
        found = evaluate(problem, renamed(problem, start, prices(problem), 0)).objective
        table = without_duplicates(problem, start).expert_of_slot.reshape(3, 3, -1)
        best = np.inf
        for names in product(permutations(range(3)), repeat=3):
            moved = np.stack([table[layer][list(name)] for layer, name in enumerate(names)])
            value = evaluate(problem, start.replace(expert_of_slot=moved.reshape(3, -1))).objective
            best = min(best, value)
        assert found == pytest.approx(best)


@pytest.mark.parametrize("dedup", ["none", "rank"])
@pytest.mark.parametrize("objective", ["copies", "hops"])
def test_exchanges_lower_the_true_objective(objective, dedup):
    """For copies and hops the compiled descent never raises what evaluate says, and lowers it."""
    lowered = 0
    for seed in range(12):
        rng = np.random.default_rng(seed)
        problem, _ = random_stay_problem(
            rng, objective=objective, dedup=dedup, redundant=0, tokens=40
        )
        start = without_duplicates(problem, random_placement(rng, problem))
        after = swept(problem, start, prices(problem), 0.0, Run(), 5)
        before, now = (evaluate(problem, p).objective for p in (start, after))
        assert now <= before * (1 + 1e-9)
        lowered += now < before * (1 - 1e-9)
        assert (np.sort(after.replica_count, axis=None) == 1).all()
    assert lowered >= 6


def test_close_to_the_optimum():
    """On small chains without replicas the mean is within a tenth of the best of all placements."""
    ratios = []
    for seed in range(80):
        problem = small(seed, redundant=0)
        if problem is None or problem.num_layers < 2 or problem.num_ranks < 2:
            continue
        best = min(evaluate(problem, p).objective for p in all_placements(problem))
        value = solve(problem, "chain").score.objective
        assert value >= best * (1 - 1e-9)
        ratios.append(1.0 if best == 0 and value == 0 else value / max(best, 1e-12))
        if len(ratios) == 8:
            break
    assert len(ratios) == 8
    assert np.mean(ratios) < 1.1


def test_auto_is_chain_where_tokens_stay():
    """The default solver takes the chain into account, and beats the layers on their own."""
    rng = np.random.default_rng(7)
    trace = random_trace(rng, 8, 2, 4, 200)
    problem = make_problem(
        tiny_model(8, 2, 4), tiny_mesh(2, 2), Workload.from_trace(trace, anchored=True),
        dedup="rank", objective="copies", execution="stay",
    )  # fmt: skip
    alone = solve(problem.replace(execution="return"), "auto").placement
    found = solve(problem, "auto")
    assert found.score.objective < evaluate(problem, alone).objective
    chained = solve(problem, "chain").score.objective
    assert found.score.objective == chained


def test_several_scenarios():
    """One map for two traces: feasible, and its worst scenario is what is minimized."""
    parts = []
    for seed in range(2):
        trace = random_trace(np.random.default_rng(seed), 6, 2, 3, 30)
        parts.append(
            make_problem(
                tiny_model(6, 2, 3),
                tiny_mesh(1, 3),
                Workload.from_trace(trace, anchored=True),
                objective="copies",
                execution="stay",
            )
        )
    result = solve(make_robust(parts), "chain")
    worst = max(evaluate(part, result.placement).objective for part in parts)
    assert result.score.objective == pytest.approx(worst)
    assert result.lower_bound <= worst
