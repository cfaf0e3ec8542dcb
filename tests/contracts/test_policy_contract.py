"""What every registered rebalancing policy owes, checked the same way for all of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from moeplace import load_model, load_system
from moeplace.errors import InputError, UsageError
from moeplace.replay.drift import Drift, drifting_windows
from moeplace.replay.fetches import Mover
from moeplace.replay.instance import replay_problem
from moeplace.replay.loop import replay
from moeplace.replay.policy import Bench, Situation
from moeplace.replay.registry import POLICIES, load_policy, parse_policy
from moeplace.replay.scorer import Scorer
from moeplace.replay.settings import Settings

if TYPE_CHECKING:
    from moeplace.placement import Problem
    from moeplace.replay.windows import Windows

MODEL = load_model("mixtral-8x7b").replace(num_experts=16, moe_layers=tuple(range(4)), num_layers=4)
DRIFT = Drift(layers=4, experts=16, hot_share=0.6, hot_experts=4, memory=6)


def instance(redundant: int = 8) -> tuple[Problem, Windows]:
    """Return a problem of 4 ranks and twelve windows of drifting loads."""
    system = load_system("h100-sxm", 4)
    return replay_problem(MODEL, system, drifting_windows(DRIFT, 12, 1), redundant=redundant)


def bench_of(problem: Problem, training: bool) -> Bench:
    """Return the bench of a replay."""
    scorer, mover = Scorer(problem, training=training), Mover(problem, training=training)
    return Bench(problem, scorer, mover, 1000, 10.0)


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("name", POLICIES)
def test_maps_are_placements(name: str, training: bool) -> None:
    """Every map covers every expert, in the problem's slots; inputs stay as they are."""
    problem, windows = instance()
    info, values = parse_policy(name)
    policy = load_policy(info)(bench_of(problem, training), **values)
    loads = [window.load for window in windows]
    table = policy.start(loads[0])
    shape = (4, 4, problem.slots_per_rank)
    for number, load in enumerate(loads):
        assert table.shape == shape or not info.keeps_slots
        assert all(set(range(16)) <= set(row.ravel().tolist()) for row in table)
        kept_table, kept_load = table.copy(), load.copy()
        decision = policy.decide(Situation(number, load, table))
        np.testing.assert_array_equal(table, kept_table)
        np.testing.assert_array_equal(load, kept_load)
        if decision is not None:
            table = decision.table
        if info.keeps_slots:
            assert (table >= 0).sum(axis=(1, 2)).max() <= problem.num_slots


@pytest.mark.parametrize("name", POLICIES)
def test_runs_repeat(name: str) -> None:
    """The same windows give the same numbers, down to the last bit."""
    problem, windows = instance()
    one, two = (replay(problem, windows, [name], Settings(steps=1000)).runs[0] for _ in range(2))
    np.testing.assert_array_equal(one.window_s, two.window_s)
    np.testing.assert_array_equal(one.final, two.final)


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("migration", ["stop", "overlap"])
def test_no_regret_is_negative(training: bool, migration: str) -> None:
    """No policy beats the oracle in any window, and its books add up."""
    problem, windows = instance()
    settings = Settings(steps=1000, migration=migration, training=training)
    found = replay(problem, windows, [*POLICIES], settings)
    for run in found.runs:
        assert (run.window_s >= found.reference_s * (1 - 1e-9)).all(), run.policy
        assert run.nbytes.sum() == pytest.approx(
            run.moved.sum() * problem.expert_bytes * (7 if training else 1)
        )
        if migration == "overlap":
            assert run.exposed_s.sum() == 0


@pytest.mark.parametrize("name", POLICIES)
def test_nothing_to_do(name: str) -> None:
    """Where loads never change and are even, nothing moves and nothing waits."""
    problem, _ = instance(redundant=0)
    flat = np.ones((4, 16))
    policy = load_policy(parse_policy(name)[0])(bench_of(problem, False), **parse_policy(name)[1])
    table = policy.start(flat)
    for number in range(1, 21):
        decision = policy.decide(Situation(number, flat, table))
        if decision is None or decision.free:
            continue
        assert Mover(problem).fetches(table, decision.table).moved.sum() == 0


def test_names_and_settings() -> None:
    """A name with settings is read; what is wrong is said."""
    info, values = parse_policy("moeplace-triggered:margin=3:layers=2")
    assert (info.name, values["margin"], values["layers"]) == ("moeplace-triggered", 3.0, 2.0)
    with pytest.raises(InputError, match="did you mean"):
        parse_policy("flexmo")
    with pytest.raises(UsageError, match="flexmoe takes threshold"):
        parse_policy("flexmoe:every=3")
    with pytest.raises(UsageError, match="give a number"):
        parse_policy("flexmoe:threshold=much")


@pytest.mark.parametrize("name", [n for n, i in POLICIES.items() if "every" in i.parameters])
def test_every_counts_windows(name: str) -> None:
    """A policy that counts changes its map in windows that are multiples, never the first."""
    problem, windows = instance()
    settings = f"{name}:every=4" + (":threshold=0" if name == "smartmoe" else "")
    run = replay(problem, windows, [settings], Settings(steps=1000)).runs[0]
    changed = set(np.flatnonzero(run.moved).tolist())
    assert changed
    assert changed <= {4, 8}
