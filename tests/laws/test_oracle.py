"""``evaluate`` against a slow count of every possibility."""

from __future__ import annotations

import numpy as np
import pytest

from moeplace.placement import Placement, evaluate, make_problem
from moeplace.traces import TokenSets, Workload
from tests.reference.evaluate_loops import StepCost, evaluate_loops
from tests.reference.instances import (
    DEDUPS,
    DISPATCHES,
    random_placement,
    random_problem,
    tiny_mesh,
    tiny_model,
)

SCALARS = (
    "objective",
    "step_time_s",
    "dispatch_s",
    "compute_s",
    "combine_s",
    "balancedness",
    "copies_per_token",
    "hops_per_token",
    "max_link_bytes",
    "memory_GiB_per_rank",
)
LAYERS = {
    "rank_load": "rank_load",
    "rank_compute_s": "rank_compute_s",
    "link_bytes": "link_bytes",
    "layer_dispatch_s": "dispatch_s",
    "layer_compute_s": "compute_s",
    "layer_combine_s": "combine_s",
    "layer_time_s": "time_s",
    "layer_copies": "copies",
    "layer_hops": "hops",
    "layer_balancedness": "balancedness",
}


def agree(score, cost: StepCost, where: str) -> None:
    """Compare everything a score says with what was counted."""
    for name in SCALARS:
        counted = getattr(cost, name)
        assert getattr(score, name) == pytest.approx(counted, rel=1e-9, abs=0), (where, name)
    for name, field in LAYERS.items():
        counted = np.array([getattr(layer, field) for layer in cost.layers])
        np.testing.assert_allclose(
            getattr(score, name), counted, rtol=1e-9, err_msg=f"{where} {name}"
        )
    assert (score.ranks_per_token is None) == (cost.ranks_per_token is None), where
    if cost.ranks_per_token is not None:
        assert score.ranks_per_token == pytest.approx(cost.ranks_per_token, rel=1e-9), where


def compare(dedup: str, dispatch: str, seeds: range) -> None:
    """Compare on random instances: replicas, duplicates on a rank, empty slots, idle experts."""
    for seed in seeds:
        rng = np.random.default_rng(seed)
        problem = random_problem(rng, dedup=dedup, dispatch=dispatch)
        placement = random_placement(
            rng, problem, duplicates=bool(rng.random() < 0.3), spare=int(rng.integers(0, 2))
        )
        agree(
            evaluate(problem, placement),
            evaluate_loops(problem, placement),
            f"seed {seed}, {problem.system.name}, {problem.objective}",
        )


@pytest.mark.parametrize("dispatch", DISPATCHES)
@pytest.mark.parametrize("dedup", DEDUPS)
def test_random_instances(dedup, dispatch):
    """Every number of the score agrees to 1e-9 on random small instances."""
    compare(dedup, dispatch, range(30))


@pytest.mark.slow
@pytest.mark.parametrize("dispatch", DISPATCHES)
@pytest.mark.parametrize("dedup", DEDUPS)
def test_many_random_instances(dedup, dispatch):
    """The same on a thousand instances of every kernel and policy."""
    compare(dedup, dispatch, range(1000, 2000))


@pytest.mark.parametrize("dedup", DEDUPS)
def test_padded_sets(dedup):
    """Tokens with fewer experts than top_k touch fewer ranks; shares stay those of the loads."""
    for seed in range(20):
        rng = np.random.default_rng(seed)
        problem = random_problem(rng, dedup=dedup, max_layers=1)
        if problem.workload.token_sets is None or problem.top_k == 1:
            continue
        (sets,) = problem.workload.token_sets
        ids = sets.ids.copy()
        ids[rng.random(len(ids)) < 0.4, -1] = -1
        padded = TokenSets(ids, sets.weight)
        workload = problem.workload.replace(
            load=padded.load(problem.num_experts)[None], token_sets=(padded,)
        )
        problem = problem.replace(workload=workload)
        placement = random_placement(rng, problem)
        agree(evaluate(problem, placement), evaluate_loops(problem, placement), f"seed {seed}")


@pytest.mark.parametrize("tile", [1, 3, 8])
def test_full_tiles_take_no_extra(tile):
    """Seven of a hundred tokens are seven, though 0.07 · 100 > 7 in floating point."""
    for tokens in range(2, 202, 2):
        loads = np.array([[first, tokens - first] for first in range(tokens + 1)], float)
        system = tiny_mesh(1, 2, tile_tokens=tile, peak_tflops={"bf16": 1e-4})
        problem = make_problem(
            tiny_model(2, 1, len(loads)),
            system,
            Workload.from_loads(loads, top_k=1),
            dedup="none",
            tokens_per_rank=tokens // 2,
        )
        floor, _, per_token = problem.compute_constants
        score = evaluate(problem, Placement.from_rank_of_expert([[0, 1]] * len(loads), num_ranks=2))
        np.testing.assert_array_equal(
            np.round((score.rank_compute_s - floor) / (per_token * tile), 6), -(-loads // tile)
        )
