"""One placement for several scenarios."""

from __future__ import annotations

import numpy as np
import pytest

from moeplace.errors import InputError
from moeplace.formulations.bounds import lower_bound
from moeplace.formulations.solve import solve
from moeplace.hwmodels import System
from moeplace.models import ModelSpec
from moeplace.placement import evaluate, make_problem, make_robust, violations
from moeplace.placement.robust import mixture, scenario_weights
from moeplace.traces import RoutingTrace, Workload

MODEL = ModelSpec(
    name="tiny",
    num_layers=3,
    moe_layers=(0, 1, 2),
    num_experts=12,
    top_k=2,
    hidden_size=64,
    moe_intermediate_size=32,
)
MESH = System(
    "m",
    "mesh",
    "",
    4,
    rows=2,
    columns=2,
    link_GBps=2.0,
    hbm_GBps=20.0,
    hbm_GB=1.0,
    peak_tflops={"bf16": 0.02},
)


def scenario(seed, **changes):
    rng = np.random.default_rng(seed)
    chance = 0.9 * rng.dirichlet(np.full(12, 0.5), size=3) + 0.1 / 12
    ids = np.array([[rng.choice(12, 2, replace=False, p=p) for p in chance] for _ in range(60)])
    workload = Workload.from_trace(RoutingTrace.from_arrays(ids, num_experts=12), name=f"s{seed}")
    return make_problem(MODEL, MESH, workload, tokens_per_rank=64, **changes)


def test_weights_of_the_risk_measures():
    """Of 1, 4, 2, 3: max is 4; mean 2.5; CVaR of the worst half 3.5, of the worst 0.6 is 3.25."""
    values = np.array([1.0, 4.0, 2.0, 3.0])
    for risk, tail, expected in (
        ("max", 0.5, 4.0),
        ("mean", 0.5, 2.5),
        ("cvar", 0.5, 3.5),
        ("cvar", 1.0, 2.5),
        ("cvar", 0.6, (4 + 3 + 0.4 * 2) / 2.4),
    ):
        weights = scenario_weights(values, risk, tail)
        assert weights.sum() == pytest.approx(1)
        assert weights @ values == pytest.approx(expected)


@pytest.mark.parametrize("risk", ["max", "mean", "cvar"])
@pytest.mark.parametrize("objective", ["time", "balance", "copies"])
def test_robust_score_bound_and_order(risk, objective):
    """The score is the risk of the scenarios' scores; bound ≤ robust map ≤ each one-sided map."""
    problems = [scenario(seed, objective=objective) for seed in (1, 2, 3)]
    robust = make_robust(problems, risk)
    found = solve(robust)
    values = np.array([evaluate(p, found.placement).objective for p in problems])
    expected = scenario_weights(values, risk, 0.5) @ values
    assert found.score.objective == pytest.approx(expected)
    assert found.score.layer_objective.sum() == pytest.approx(expected)
    assert not violations(robust, found.placement)
    assert lower_bound(robust).value <= expected * (1 + 1e-9)
    for problem in problems:
        alone = solve(problem).placement
        assert expected <= evaluate(robust, alone).objective * (1 + 1e-9)


def test_scenarios_may_be_phases():
    """Prefill and decode of one model share a map; both are reported as they are."""
    prefill, decode = scenario(1), scenario(2, phase="decode")
    found = solve(make_robust([prefill, decode], "mean"))
    both = [evaluate(p, found.placement).objective for p in (prefill, decode)]
    assert found.score.objective == pytest.approx(np.mean(both))
    assert found.scores_by_phase["decode"].objective == pytest.approx(both[1])


def test_mixture_weighs_tokens_not_files():
    """A file ten times as long does not count ten times; loads and sets agree."""
    short, long = scenario(1).workload, scenario(2).workload
    long = long.replace(load=long.load * 10)
    mixed = mixture([short, long], np.array([0.25, 0.75]))
    np.testing.assert_allclose(mixed.load.sum(axis=1), 1.0)
    from_sets = mixed.token_sets[0].load(12) / mixed.token_sets[0].load(12).sum()
    np.testing.assert_allclose(from_sets, mixed.load[0])


def test_scenarios_must_share_what_is_placed():
    """Another slot count, an unknown risk, an empty list and a foreign tail are refused."""
    with pytest.raises(InputError, match="slots_per_rank"):
        make_robust([scenario(1), scenario(2, slots_per_rank=5)])
    with pytest.raises(InputError, match="max, mean, cvar"):
        make_robust([scenario(1)], "median")
    with pytest.raises(InputError, match="at least one"):
        make_robust([])
    with pytest.raises(InputError, match="tail"):
        make_robust([scenario(1)], "cvar", tail=0)
