from __future__ import annotations

import numpy as np
import pytest

from moeplace.errors import InfeasibleError, InputError, MoeplaceError
from moeplace.formulations import report
from moeplace.formulations.bounds import Bound, lower_bound
from moeplace.formulations.compare import compare
from moeplace.formulations.heuristics.simple import contiguous
from moeplace.formulations.registry import load_solver
from moeplace.formulations.report import evaluate_result
from moeplace.formulations.solve import solve
from moeplace.placement import Placement, evaluate

LOADS = [[9, 1, 4, 2, 7, 3], [1, 8, 2, 2, 5, 6]]


def test_a_given_placement_is_reported_like_a_solved_one(make_tiny):
    """Contiguous, given: its own score, feasible, equal to the baseline, above the bound."""
    problem = make_tiny(LOADS, 3)
    given = contiguous(problem, report.Run(), None).placement
    result = evaluate_result(problem, given)
    assert (result.solver, result.status, result.violations) == ("evaluate", "feasible", ())
    assert result.score.objective == evaluate(problem, given).objective
    assert result.baselines["contiguous"].to_dict() == result.score.to_dict()
    assert result.scores_by_phase.keys() == {"prefill", "decode"}
    assert result.lower_bound <= result.score.objective


def test_a_negative_seed_is_refused(make_tiny):
    """One clear error before any solver runs."""
    with pytest.raises(InputError, match="seed is -1"):
        solve(make_tiny(LOADS, 3), seed=-1)


def test_broken_rules_are_listed_and_never_optimal(make_tiny):
    """An expert twice on a rank: infeasible with the rule, however low the value is."""
    problem = make_tiny(LOADS, 3, redundant=3)
    table = np.array([[0, 1, 0, 2, 3, 2, 4, 5, 4]] * 2)
    given = Placement(table, problem.rank_of_slot, 6, 3, problem.workload.layer_ids)
    result = evaluate_result(problem, given)
    assert result.status == "infeasible"
    assert any("2 replicas on rank 0" in rule for rule in result.violations)
    assert result.to_dict()["violations"] == list(result.violations)


def test_placements_of_other_problems_are_refused(make_tiny):
    """Other ranks are bad input; an expert without a slot cannot be scored."""
    problem = make_tiny(LOADS, 3)
    other = contiguous(make_tiny(LOADS, 2), report.Run(), None).placement
    with pytest.raises(InputError, match="layers, experts, ranks"):
        evaluate_result(problem, other)
    empty = Placement(np.array([[0, 1, 2, 3, 4, -1]] * 2), problem.rank_of_slot, 6, 3)
    with pytest.raises(InfeasibleError, match="expert 5"):
        evaluate_result(problem, empty)


def test_a_bound_above_a_feasible_value_is_never_shown(make_tiny, monkeypatch):
    """A wrong theorem stops the run instead of reaching the user."""
    problem = make_tiny(LOADS, 3)
    layers = np.full(2, 1e9)
    monkeypatch.setattr(report, "lower_bound", lambda p: Bound(2e9, "wrong", {}, layers))
    with pytest.raises(MoeplaceError, match="please report"):
        solve(problem, "contiguous")


def test_compare_proves_its_bound_once(make_tiny, monkeypatch):
    """Three solvers share one bound and one set of baselines."""
    calls = []
    monkeypatch.setattr(report, "lower_bound", lambda p: calls.append(p) or lower_bound(p))
    found = compare(make_tiny(LOADS, 3), ["contiguous", "lpt", "random"])
    assert len(calls) == 1
    assert [row.result.score is not None for row in found.rows] == [True] * 3


def test_compare_keeps_its_rows_after_an_interrupt(make_tiny, monkeypatch):
    """Ctrl-C before the second solver has anything leaves the first one's row and says so."""

    def load(name):
        if name == "auto":
            raise KeyboardInterrupt
        return load_solver(name)

    monkeypatch.setattr("moeplace.formulations.solve.load_solver", load)
    found = compare(make_tiny(LOADS, 3), ["lpt", "auto", "random"])
    assert (found.limit, [row.solver for row in found.rows]) == ("interrupted", ["lpt"])
    with pytest.raises(KeyboardInterrupt):
        compare(make_tiny(LOADS, 3), ["auto"])


def test_compare_stops_at_an_interrupted_solver(make_tiny, monkeypatch):
    """The solver that was interrupted shows its best; those after it do not run."""

    def interrupted(problem, run, initial):
        run.report(contiguous(problem, run, None).placement)
        raise KeyboardInterrupt

    monkeypatch.setattr("moeplace.formulations.solve.load_solver", lambda name: interrupted)
    found = compare(make_tiny(LOADS, 3), ["lpt", "auto"])
    assert (found.limit, len(found.rows)) == ("interrupted", 1)
    assert found.to_dict()["limit"] == "interrupted"
