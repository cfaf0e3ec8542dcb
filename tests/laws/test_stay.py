"""``evaluate`` under ``stay`` execution against tokens followed one by one."""

from __future__ import annotations

import numpy as np
import pytest

from moeplace.errors import InputError
from moeplace.placement import Placement, evaluate, make_problem
from moeplace.traces import RoutingTrace, Workload
from tests.reference.chains import random_stay_problem, random_trace
from tests.reference.instances import (
    DEDUPS,
    random_placement,
    random_problem,
    tiny_mesh,
    tiny_model,
)
from tests.reference.stay_loops import stay_loops


def agree(problem, trace, placement, where):
    """Compare everything that ``stay`` changes, and nothing else changes."""
    score = evaluate(problem, placement)
    layers = stay_loops(problem, trace, placement)
    sizes = problem.system.copy_bytes(problem.model.payload_size)
    for name, counted in (
        ("layer_copies", [float(layer.copies) for layer in layers]),
        ("layer_hops", [layer.hops for layer in layers]),
        ("layer_dispatch_s", [layer.dispatch_s for layer in layers]),
        ("layer_combine_s", [layer.combine_s for layer in layers]),
    ):
        np.testing.assert_allclose(
            getattr(score, name), counted, rtol=1e-9, atol=1e-15, err_msg=f"{where} {name}"
        )
    links = np.zeros_like(score.link_bytes)
    for row, layer in enumerate(layers):
        for link, crossings in layer.out.items():
            links[row, link] = float(crossings) * sizes[0]
    np.testing.assert_allclose(score.link_bytes, links, rtol=1e-9, atol=1e-12, err_msg=where)
    back = evaluate(problem.replace(execution="return"), placement)
    np.testing.assert_array_equal(score.rank_load, back.rank_load)
    np.testing.assert_array_equal(score.rank_compute_s, back.rank_compute_s)
    assert score.step_time_s == pytest.approx(
        score.dispatch_s + score.compute_s + score.combine_s, rel=1e-12
    )


@pytest.mark.parametrize("dedup", DEDUPS)
def test_random_instances(dedup):
    """Copies, hops, links and seconds of every layer agree, replicas and idle slots included."""
    for seed in range(25):
        rng = np.random.default_rng(seed)
        problem, trace = random_stay_problem(rng, dedup=dedup)
        placement = random_placement(rng, problem, duplicates=bool(rng.random() < 0.2))
        agree(problem, trace, placement, f"seed {seed}, {problem.system.name}")


@pytest.mark.slow
@pytest.mark.parametrize("dedup", DEDUPS)
def test_many_random_instances(dedup):
    """The same on three hundred instances of every kernel."""
    for seed in range(1000, 1300):
        rng = np.random.default_rng(seed)
        problem, trace = random_stay_problem(rng, dedup=dedup)
        agree(problem, trace, random_placement(rng, problem), f"seed {seed}")


def test_tokens_that_skip_a_layer():
    """A token without experts in a layer starts from anywhere in the next."""
    rng = np.random.default_rng(5)
    for _ in range(10):
        trace = random_trace(rng, 5, 2, 3, weights=True)
        ids = trace.expert_ids.astype(int)
        ids[rng.random(len(ids)) < 0.4, int(rng.integers(0, 3))] = -1
        gaps = RoutingTrace.from_arrays(ids, 5, phase="prefill", weights=trace.weights)
        problem = make_problem(
            tiny_model(5, 2, 3),
            tiny_mesh(1, 3),
            Workload.from_trace(gaps, anchored=True),
            dedup="rank",
            execution="stay",
        )
        agree(problem, gaps, random_placement(rng, problem), "gaps")


def test_one_expert_a_token_needs_one_message():
    """With top_k = 1 a token travels from main expert to main expert and nothing comes back."""
    trace = RoutingTrace.from_arrays([[[0], [1], [1]], [[1], [1], [0]]], 2, phase="prefill")
    workload = Workload.from_trace(trace, anchored=True)
    for dedup in DEDUPS:
        problem = make_problem(
            tiny_model(2, 1, 3), tiny_mesh(1, 2), workload, dedup=dedup, objective="copies",
            tokens_per_rank=1, execution="stay",
        )  # fmt: skip
        score = evaluate(problem, Placement.from_rank_of_expert([[0, 1]] * 3, num_ranks=2))
        # First from home (half the tokens move), then 0 → 1 moves, then 1 → 0 moves.
        assert score.layer_copies.tolist() == pytest.approx([1.0, 1.0, 1.0])
        score = evaluate(
            problem, Placement.from_rank_of_expert([[0, 1], [1, 0], [1, 0]], num_ranks=2)
        )
        assert score.layer_copies.tolist() == pytest.approx([1.0, 1.0, 1.0])
        alpha = problem.system.alpha_us["prefill"]["combine"] * problem.system.in_situ_factor
        assert score.layer_combine_s == pytest.approx([alpha * 1e-6] * 3)


def test_return_does_not_look_at_the_chain():
    """Without ``stay`` scores and fingerprints are those of a workload without a chain."""
    for seed in range(6):
        rng = np.random.default_rng(seed)
        problem, _ = random_stay_problem(rng, execution="return")
        bare = problem.replace(
            workload=problem.workload.replace(anchored=None, transition_counts=None)
        )
        placement = random_placement(rng, problem)
        assert evaluate(problem, placement).to_dict() == evaluate(bare, placement).to_dict()
        assert problem.fingerprint == bare.fingerprint
        assert problem.replace(execution="stay").fingerprint != problem.fingerprint


def test_loads_alone_do_not_say_where_tokens_are():
    """A workload without a chain, and policies that look at the source, are refused."""
    problem = random_problem(np.random.default_rng(3), dispatch="even")
    parts = problem.model, problem.system, problem.workload
    with pytest.raises(InputError, match="token-level trace"):
        make_problem(*parts, execution="stay")
    with pytest.raises(InputError, match="unknown execution 'leave'"):
        make_problem(*parts, execution="leave")
    with pytest.raises(InputError, match="token-level trace"):
        problem.workload.transition()
    for dispatch in ("nearest", "rank_modulo", "cover"):
        with pytest.raises(InputError, match="even or lp"):
            random_stay_problem(np.random.default_rng(3), dispatch=dispatch)
