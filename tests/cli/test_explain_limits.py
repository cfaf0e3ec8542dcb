from __future__ import annotations

import numpy as np
import pytest

import moeplace
from moeplace.cli.explain.limits import limits_of
from moeplace.formulations.heuristics.simple import contiguous
from moeplace.formulations.solver import Run


def made(hw: str, tokens: int, phase: str = "prefill", **options):
    """Return a problem of two uneven layers of 16 experts, its contiguous map and its score."""
    loads = np.random.default_rng(3).gamma(2.0, 50.0, (2, 16))
    problem = moeplace.make_problem(
        model=moeplace.load_model("phi-3.5-moe"),
        system=moeplace.load_system(hw),
        workload=moeplace.Workload.from_loads(loads, layer_ids=(0, 1)),
        phase=phase,
        tokens_per_rank=tokens,
        **options,
    )
    placement = contiguous(problem, Run(seed=0), None).placement
    return problem, placement, moeplace.evaluate(problem, placement)


CASES = [("mesh:2x2", 4096, "prefill"), ("mesh:2x2", 4, "decode"), ("h100-sxm", 512, "prefill")]


@pytest.mark.parametrize("hw, tokens, phase", CASES)
def test_parts_add_up_to_the_step(hw, tokens, phase):
    """Tokens, weights, links and fixed costs are the whole time."""
    problem, placement, score = made(hw, tokens, phase, dedup="rank")
    limits = limits_of(problem, placement, score)
    assert limits.total_s == pytest.approx(score.step_time_s, rel=1e-12)
    assert min(limits.tokens_s, limits.weights_s, limits.links_s, limits.fixed_s) >= 0


@pytest.mark.parametrize("hw, tokens, phase", CASES)
@pytest.mark.parametrize("part", ["arithmetic", "memory", "link"])
def test_savings_are_what_faster_hardware_gives(part, hw, tokens, phase):
    """Twice the speed of one part, evaluated anew, saves what was computed from the score."""
    problem, placement, score = made(hw, tokens, phase, dedup="rank")
    system = problem.system
    faster = {
        "arithmetic": {"peak_tflops": {k: 2 * v for k, v in system.peak_tflops.items()}},
        "memory": {"hbm_GBps": 2 * system.hbm_GBps},
        "link": {"link_GBps": 2 * system.link_GBps, "nic_GBps": 2 * system.nic_GBps},
    }[part]
    again = moeplace.evaluate(problem.replace(system=system.replace(**faster)), placement)
    saved = limits_of(problem, placement, score).saved_s[part]
    assert saved == pytest.approx(score.step_time_s - again.step_time_s, rel=1e-9, abs=1e-15)


def test_tokens_that_stay():
    """Where tokens go on from their expert's rank, twice the link speed saves what is said."""
    ids = np.argsort(np.random.default_rng(5).random((300, 2, 16)), axis=2)[:, :, :2]
    trace = moeplace.RoutingTrace.from_arrays(ids, num_experts=16, layer_ids=(0, 1))
    problem = moeplace.make_problem(
        model=moeplace.load_model("phi-3.5-moe"),
        system=moeplace.load_system("mesh:2x3"),
        workload=moeplace.Workload.from_trace(trace, anchored=True),
        phase="prefill",
        dedup="rank",
        execution="stay",
    )
    placement = contiguous(problem, Run(seed=0), None).placement
    score = moeplace.evaluate(problem, placement)
    limits = limits_of(problem, placement, score)
    faster = problem.system.replace(link_GBps=2 * problem.system.link_GBps)
    again = moeplace.evaluate(problem.replace(system=faster), placement)
    assert limits.saved_s["link"] == pytest.approx(score.step_time_s - again.step_time_s, rel=1e-6)
    assert limits.total_s == pytest.approx(score.step_time_s)


def test_sentences_from_python():
    """`moeplace.explain_result` needs the result alone."""
    problem, _, _ = made("mesh:2x2", 4096, dedup="rank")
    first, second = moeplace.explain_result(moeplace.solve(problem, "lpt"))
    assert first.startswith("Arithmetic on tokens takes")
    assert "placement" in second


def test_kind_follows_the_batch():
    """Few tokens wait for weights, many for arithmetic."""
    assert limits_of(*made("mesh:2x2", 4, "decode", dedup="rank")).kind == "weights"
    assert limits_of(*made("mesh:2x2", 8192, dedup="rank")).kind == "tokens"


def test_slow_links_limit():
    """With links a thousand times slower the busiest link is what a step waits for."""
    problem, placement, _ = made("mesh:2x2", 4096, dedup="rank")
    slow = problem.replace(system=problem.system.replace(link_GBps=problem.system.link_GBps / 1000))
    limits = limits_of(slow, placement, moeplace.evaluate(slow, placement))
    assert limits.kind == "links"
    assert limits.link in problem.plan.topology.link_names
    assert limits.link_ratio >= 1


def test_uneven_and_hot():
    """One expert with nearly all tokens: uneven, and hot in every layer."""
    loads = np.ones((2, 16))
    loads[:, 5] = 12
    problem, placement, _ = made("mesh:2x2", 4096, dedup="rank")
    hot = problem.with_workload(moeplace.Workload.from_loads(loads, layer_ids=(0, 1)))
    score = moeplace.evaluate(hot, placement)
    limits = limits_of(hot, placement, score)
    assert limits.hot_layers == 2
    mean = score.rank_compute_s.mean(axis=1).sum()
    assert limits.uneven_s == pytest.approx(score.compute_s - mean)
