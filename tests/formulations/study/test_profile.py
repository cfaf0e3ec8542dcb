from __future__ import annotations

import math

import numpy as np
import pytest

from moeplace.formulations.study import Study, Trial
from moeplace.formulations.study.plots import mean_course
from moeplace.formulations.study.profile import LEAST_S, profile_of
from moeplace.formulations.study.study import Case


class _Bound:
    """Stands for a bound of 8."""

    value = 8.0


def run(instance, solver, value, *, seed=0, history=(), rules=True, runtime_s=1.0):
    """Return a finished run; None as value for one that failed."""
    if value is None:
        return Trial(instance, solver, seed, None, error="no")
    points = history or ((runtime_s, value),)
    return Trial(
        instance, solver, seed, None, value=value, runtime_s=runtime_s, status="feasible",
        keeps_rules=rules, history=points,
    )  # fmt: skip


def study(*trials):
    """Return a study of the runs, bound 8 on every instance."""
    return Study(
        tuple(Case(name, None, _Bound) for name in dict.fromkeys(t.instance for t in trials)),
        trials,
        tuple(dict.fromkeys(t.solver for t in trials)),
        tuple(dict.fromkeys(t.seed for t in trials)),
        None,
    )


TRIALS = (
    run("one", "a", 10.0, history=((1.0, 20.0), (4.0, 10.0))),
    run("two", "a", 30.0, history=((3.0, 30.0),)),
    run("one", "b", 10.05, history=((0.5, 10.05),)),
    run("two", "b", 20.0, history=((6.0, 20.0),)),
    run("one", "c", None),
    run("two", "c", 10.0, rules=False),
)


def test_profile_by_value():
    """Ratios to the best solver of each instance, worked out by hand; failures are infinite."""
    profile = profile_of(TRIALS, "value")
    assert profile.ratio["a"].tolist() == [1.0, 1.5]
    assert profile.ratio["b"].tolist() == pytest.approx([1.005, 1.0])
    assert profile.ratio["c"].tolist() == [math.inf, math.inf]  # breaking a rule is failing
    assert [profile.share("b", f) for f in (1.0, 1.005, 2.0)] == [0.5, 1.0, 1.0]
    document = profile.to_dict()
    assert document["problems"] == 2
    assert document["share"]["a"][-2:] == [1.0, 1.0]


def test_profile_by_time():
    """Seconds until within 1 % of the best value, as factors of the fastest solver's."""
    profile = profile_of(TRIALS, "time")
    assert profile.ratio["a"].tolist() == [8.0, math.inf]
    assert profile.ratio["b"].tolist() == [1.0, 1.0]


def test_profile_of_zeros():
    """A solver that reaches a best value of 0 is best, any other value is infinitely worse."""
    profile = profile_of((run("one", "a", 0.0), run("one", "b", 1.0)), "value")
    assert profile.ratio["a"].tolist() == [1.0]
    assert profile.ratio["b"].tolist() == [math.inf]


def test_wins_and_means():
    """Wins count means over seeds, ties count for both, a rule broken or a failed seed for none."""
    found = study(
        run("one", "a", 10.0), run("one", "a", 12.0, seed=1),
        run("one", "b", 11.0), run("one", "b", 11.0, seed=1),
        run("one", "c", 9.0), run("one", "c", None, seed=1),
        run("one", "d", 8.0, rules=False), run("one", "d", 8.0, seed=1, rules=False),
    )  # fmt: skip
    assert found.winners("one") == ["a", "b"]
    lines = {line.solver: line for line in found.summary()}
    assert [lines[name].wins for name in "abcd"] == [1, 1, 0, 0]
    assert [lines[name].solved for name in "abcd"] == [2, 2, 1, 0]
    assert lines["a"].mean_gap == pytest.approx((2 / 10 + 4 / 12) / 2)
    assert lines["a"].worst_gap == pytest.approx(4 / 12)
    assert lines["d"].mean_gap is None


def test_course_is_the_mean_of_steps():
    """The mean gap over runs starts where all have a placement and steps where one improves."""
    runs = [
        run("one", "a", 10.0, history=((1.0, 16.0), (3.0, 10.0)), runtime_s=4.0),
        run("one", "a", 8.0, seed=1, history=((0.0, 32.0), (2.0, 8.0)), runtime_s=5.0),
    ]
    at, gap = mean_course(study(*runs), runs)
    assert at.tolist() == [1.0, 2.0, 3.0, 5.0]
    assert gap.tolist() == pytest.approx([(0.5 + 0.75) / 2, 0.25, 0.1, 0.1])


def test_course_of_a_moment():
    """A run of no seconds can be drawn on a logarithmic axis."""
    runs = [run("one", "a", 10.0, runtime_s=0.0)]
    at, gap = mean_course(study(*runs), runs)
    assert np.all(at == LEAST_S)
    assert gap.tolist() == pytest.approx([0.2])
