from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import moeplace
from moeplace.errors import CheckFailedError, InputError
from moeplace.formulations.instances import Instance, check_instance, library
from moeplace.formulations.instances.define import problem_of
from moeplace.formulations.instances.drawn import drawn_workload
from moeplace.placement import DISPATCH_POLICIES, OBJECTIVES
from tests.reference.brute_force import optimum

NAMES = moeplace.list_instances()
PROVEN = 1e-6
SLOW = ["tiny-time-mesh"]  # proven by one solver, in half a minute of processor time


@pytest.mark.parametrize("name", NAMES)
def test_best_known_values_hold(name):
    """Every stored placement keeps the rules and has its value, and no bound exceeds it."""
    check_instance(moeplace.load_instance(name)).raise_if_broken()


@pytest.mark.parametrize("name", ["tiny-copies-r2", "tiny-time-decode"])
def test_stored_optima_are_those_of_enumeration(name):
    """All placements of the smallest instances are tried; none beats the best known."""
    instance = moeplace.load_instance(name)
    assert instance.record.status == "optimal"
    best, _ = optimum(instance.problem)[instance.problem.objective]
    assert instance.record.value == pytest.approx(best, rel=PROVEN)


@pytest.mark.parametrize("name", ["tiny-copies-r2", "tiny-time-decode"])
def test_some_bounds_are_proven_again(name):
    """Another exact solver proves the stored bound."""
    check_instance(moeplace.load_instance(name), prove=True).raise_if_broken()


@pytest.mark.slow
@pytest.mark.parametrize("name", [n for n in moeplace.list_instances("tiny") if n not in SLOW])
def test_all_small_bounds_are_proven_again(name):
    """Another exact solver, or the strong theorem, proves every stored bound."""
    check_instance(moeplace.load_instance(name), prove=True).raise_if_broken()


def test_every_kind_is_there():
    """The tiny instances have every objective, with and without replicas; all are proven."""
    problems = {name: moeplace.load_instance(name).problem for name in NAMES if "tiny" in name}
    assert {p.objective for p in problems.values()} == set(OBJECTIVES)
    assert {p.dedup for p in problems.values()} == {"none", "rank", "node", "multicast"}
    assert {p.redundant > 0 for p in problems.values()} == {True, False}
    assert {p.dispatch for p in problems.values()} <= set(DISPATCH_POLICIES)
    records = {name: moeplace.load_instance(name).record for name in problems}
    assert {record.status for record in records.values()} == {"optimal"}
    assert {"tiny", "layer", "full"} == {t for n in NAMES for t in moeplace.load_instance(n).tags}


def _tampered(**changes):
    instance = moeplace.load_instance("tiny-copies")
    return replace(instance, record=replace(instance.record, **changes))


def test_wrong_records_are_found():
    """A wrong value, a bound above it and a bound that fast theorems do not prove are noticed."""
    record = moeplace.load_instance("tiny-copies").record
    wrong = check_instance(_tampered(value=record.value * 0.999))
    assert not wrong.holds
    assert "is worth" in wrong.problems[0]
    with pytest.raises(CheckFailedError, match="exceeds the value"):
        check_instance(_tampered(lower_bound=record.value * 1.001)).raise_if_broken()
    with pytest.raises(CheckFailedError, match="fast theorems prove"):
        check_instance(_tampered(proven_by="fast")).raise_if_broken()
    assert not check_instance(replace(_tampered(), record=None)).holds


def test_a_bad_proof_is_found():
    """A bound between optimum and truth of another instance does not survive another solver."""
    instance = moeplace.load_instance("tiny-copies-r2")
    worse = moeplace.solve(instance.problem, "contiguous")
    claimed = replace(
        instance.record,
        value=worse.score.objective,
        lower_bound=(worse.score.objective + instance.record.value) / 2,
    )
    fake = replace(instance, record=claimed)
    fake.__dict__["placement"] = worse.placement
    assert check_instance(fake).holds  # nothing cheap can tell
    found = check_instance(fake, prove=True)
    assert "proves" in found.problems[0]


def test_unknown_names():
    """A misspelled instance is answered with the nearest."""
    with pytest.raises(InputError, match="tiny-copies"):
        moeplace.load_instance("tiny-copiess")
    assert moeplace.list_instances("nothing") == []
    assert isinstance(moeplace.load_instance(NAMES[0]), Instance)


@pytest.mark.parametrize(
    ("changes", "said"),
    [({"objektive": "time"}, "objektive"), ({"model": None}, "no model"),
     ({"shipped": "deepseek-v2-lite/prefill_esft"}, "one of them"),
     ({"drawn": {"tokens": 0}}, "at least 1")],
)  # fmt: skip
def test_wrong_definitions(changes, said):
    """Entries with unknown or missing keys are refused by name."""
    entry = dict(moeplace.load_instance("tiny-copies").definition) | changes
    entry = {key: value for key, value in entry.items() if value is not None}
    with pytest.raises(InputError, match=said):
        problem_of("x", entry)


def test_drawn_tokens():
    """Tokens have distinct experts, loads are theirs, a seed repeats, seeds and layers differ."""
    drawn = drawn_workload(16, 2, tokens=300, layers=2, seed=4)
    for layer, sets in enumerate(drawn.token_sets):
        assert sets.total_weight == 300
        assert (np.diff(sets.ids, axis=1) > 0).all()
        assert np.array_equal(sets.load(16), drawn.load[layer])
    again = drawn_workload(16, 2, tokens=300, layers=2, seed=4)
    assert again.fingerprint() == drawn.fingerprint()
    assert not np.array_equal(drawn.load[0], drawn.load[1])
    other = drawn_workload(16, 2, tokens=300, layers=2, seed=5)
    assert not np.array_equal(drawn.load, other.load)


def test_the_tables_hold_no_strangers():
    """Records and placements are of instances that exist, one each."""
    assert set(library._records()) == set(NAMES)
    assert {key.split("/")[0] for key in library._placements()} == set(NAMES)
