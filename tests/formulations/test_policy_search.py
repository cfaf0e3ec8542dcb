"""Descent by full evaluation where the compiled search only approximates the policy."""

from __future__ import annotations

import numpy as np
import pytest

from moeplace.formulations.heuristics.policy_search import polish
from moeplace.formulations.heuristics.portfolio import auto
from moeplace.formulations.heuristics.simple import contiguous
from moeplace.formulations.solver import Run
from moeplace.placement import evaluate, violations
from tests.reference.brute_force import optimum
from tests.reference.instances import random_problem


def tiny(seed: int, dispatch: str):
    """Return an instance small enough to enumerate."""
    rng = np.random.default_rng(seed)
    return random_problem(
        rng, max_experts=4, max_ranks=3, max_layers=1, max_redundant=2, dispatch=dispatch
    )


@pytest.mark.parametrize("dispatch", ["nearest", "rank_modulo", "lp"])
def test_polish_never_loses_and_breaks_no_rule(dispatch):
    """From the contiguous map it only goes down, and ends where no single step helps."""
    gained = 0
    for seed in range(12):
        problem = tiny(seed, dispatch)
        start = contiguous(problem, Run(), None).placement
        assert start is not None
        end = polish(problem, Run(seed=seed), start)
        assert violations(problem, end) == []
        before, after = (evaluate(problem, p).objective for p in (start, end))
        assert after <= before
        gained += after < before
        again = evaluate(problem, polish(problem, Run(seed=seed + 1), end)).objective
        assert again == pytest.approx(after)
    assert gained > 0


@pytest.mark.parametrize("dispatch", ["nearest", "rank_modulo", "lp"])
def test_close_to_the_optimum_under_policies_that_look_at_the_source(dispatch):
    """Against every placement there is: on average within two percent."""
    ratios = []
    for seed in range(15):
        problem = tiny(seed, dispatch)
        best = optimum(problem)[problem.objective][0]
        found = auto(problem, Run(), None).placement
        assert found is not None
        value = evaluate(problem, found).objective
        assert value >= best * (1 - 1e-9)
        ratios.append(value / best if best > 0 else 1.0)
    assert np.mean(ratios) < 1.02
