"""The limit on the fullest rank of a layer."""

from __future__ import annotations

import numpy as np
import pytest

from moeplace.errors import InputError
from moeplace.formulations.result import describe_problem
from moeplace.formulations.solve import solve
from moeplace.placement import (
    Placement,
    evaluate,
    layer_imbalance,
    layer_overload,
    make_problem,
    make_robust,
    slot_violations,
    violations,
)
from moeplace.traces import TokenSets, Workload
from tests.reference.instances import tiny_mesh, tiny_model

SETS = TokenSets(np.array([[0, 1], [0, 2], [0, 3], [1, 2]]), np.array([3.0, 2, 1, 1]))


def problem(**changes):
    """Return 4 experts, top 2, on two ranks; expert 0 has 6 of 14 pairs."""
    workload = Workload.from_loads([[6.0, 4, 3, 1]], top_k=2).with_token_sets((SETS,), "measured")
    parts = {"model": tiny_model(4, 2), "system": tiny_mesh(1, 2), "workload": workload}
    return make_problem(**{**parts, "objective": "copies", "dedup": "rank", **changes})


def placed(p, ranks):
    """Return a placement from the ranks of the experts."""
    return Placement.from_rank_of_expert(np.array([ranks]), num_ranks=2)


@pytest.mark.parametrize("value", [0.99, 0, -1, float("nan"), float("inf"), "much"])
def test_only_numbers_of_at_least_one(value):
    """The limit counts mean rank loads: less than one cannot be kept by any placement."""
    with pytest.raises(InputError, match=r"max_load is .*at least 1"):
        problem(max_load=value)


def test_the_overloaded_layer_is_named():
    """10 of 14 pairs on one of two ranks are 1.43 mean rank loads."""
    together = placed(problem(), [0, 0, 1, 1])
    assert violations(problem(), together) == []
    assert violations(problem(max_load=1.43), together) == []
    (line,) = violations(problem(max_load=1.4), together)
    assert line.startswith("layer ")
    assert "1.4286 mean rank loads, at most 1.4" in line
    assert slot_violations(problem(max_load=1.4), together) == []


@pytest.mark.parametrize("dispatch", ["even", "cover", "lp", "nearest"])
def test_counted_as_evaluate_counts(dispatch):
    """The load is the one in the score, under every policy, with replicas."""
    p = problem(max_load=1.1, dispatch=dispatch, redundant=2, slots_per_rank=3)
    table = np.array([[0, 1, 2, 3, 0, -1]], np.int32)
    placement = Placement(table, p.rank_of_slot, 4, 2)
    score = evaluate(p, placement)
    expected = score.rank_load.max(axis=1) / score.rank_load.mean(axis=1)
    np.testing.assert_allclose(layer_imbalance(p, placement), expected, rtol=1e-12)
    np.testing.assert_allclose(
        layer_overload(p, placement, score), np.maximum(expected - 1.1, 0), atol=1e-12
    )


def test_the_fingerprint_and_the_file_know_it():
    """Two limits are two problems; without one nothing is said."""
    prints = {problem(max_load=x).fingerprint for x in (None, 1.1, 1.2)}
    assert len(prints) == 3
    assert describe_problem(problem(max_load=1.1))["max_load"] == 1.1
    assert "max_load" not in describe_problem(problem())


def test_scenarios_all_have_to_keep_it():
    """A map that is balanced on one workload and not on the other breaks the limit."""
    one, other = problem(max_load=1.2), problem(max_load=1.2)
    shifted = Workload.from_loads([[7.0, 0, 0, 7]], top_k=2).with_token_sets(
        (TokenSets(np.array([[0, 3]]), np.ones(1)),), "measured"
    )
    robust = make_robust([one, other.with_workload(shifted)])
    assert violations(one, placed(one, [0, 1, 1, 0])) == []
    assert len(violations(robust, placed(one, [0, 1, 1, 0]))) == 1
    with pytest.raises(InputError, match="differ in max_load"):
        make_robust([one, problem()])


def test_solve_says_that_it_did_not_keep_the_limit():
    """No partition keeps 1.0: the least overloaded is returned and called infeasible."""
    p = problem(max_load=1.0)
    result = solve(p)
    assert result.status == "feasible"  # 6 + 1 against 4 + 3
    heavy = Workload.from_loads([[6.0, 2, 1, 1]], top_k=2).with_token_sets(
        (TokenSets(np.array([[0, 1], [0, 2], [0, 3]]), np.array([4.0, 1, 1])),), "measured"
    )
    result = solve(problem(max_load=1.0, workload=heavy))
    assert result.status == "infeasible"
    assert "mean rank loads" in result.violations[0]
    assert layer_imbalance(result.problem, result.placement)[0] == pytest.approx(7 / 5)
    assert result.history == ()


def test_robust_solve_keeps_the_limit_in_every_scenario():
    """With scenarios the limit counts in each; a map that keeps it in both is found."""
    one = problem(max_load=1.3)
    shifted = Workload.from_loads([[4.0, 6, 1, 3]], top_k=2).with_token_sets(
        (TokenSets(np.array([[0, 1], [1, 3], [1, 2]]), np.array([4.0, 3, 1])),), "measured"
    )
    robust = make_robust([one, one.with_workload(shifted)])
    result = solve(robust)
    assert result.status == "feasible"
    assert layer_imbalance(robust, result.placement).max() <= 1.3 + 1e-9
