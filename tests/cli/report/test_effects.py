"""What would help, and what replicas are worth: held against whole evaluations."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from moeplace.cli.report.replicas import replicated
from moeplace.cli.report.sensitivity import everywhere, what_would_help
from moeplace.placement import Placement, evaluate, make_robust

if TYPE_CHECKING:
    from moeplace.cli.report.gather import Gathered


def _by_change(gathered: Gathered, resolve_s: float = 0.0) -> dict:
    return {effect.change: effect for effect in what_would_help(gathered, resolve_s)}


def test_constants_are_changed_one_at_a_time(gathered: Gathered) -> None:
    """Each effect is the placement's score on a system with that constant 10\u00a0% better."""
    problem, placement = gathered.problem, gathered.found.placement
    effects = _by_change(gathered)
    for words, constant in (
        ("die-to-die links 10\u00a0% faster", "link_GBps"),
        ("memory (HBM) 10\u00a0% faster", "hbm_GBps"),
    ):
        better = problem.system.replace(**{constant: 1.1 * getattr(problem.system, constant)})
        want = evaluate(problem.replace(system=better), placement).step_time_s
        assert effects[words].step_time_s == pytest.approx(want, rel=1e-12)
        now = gathered.found.score.step_time_s
        assert effects[words].per_token == pytest.approx(want / now - 1, abs=1e-12)
    faster = effects["peak arithmetic 10\u00a0% higher"]
    slower_links = effects["die-to-die links 10\u00a0% faster"]
    assert faster.step_time_s != slower_links.step_time_s
    assert all(effect.per_token <= 1e-12 for effect in effects.values() if effect.kind ==
               "hardware")  # fmt: skip


def test_batch_is_counted_per_token(gathered: Gathered) -> None:
    """Twice the batch takes longer a step and less a token."""
    effect = _by_change(gathered)["twice the batch"]
    problem = gathered.problem.replace(tokens_per_rank=2 * gathered.problem.tokens_per_rank)
    want = evaluate(problem, gathered.found.placement).step_time_s
    now = gathered.found.score.step_time_s
    assert effect.step_time_s == pytest.approx(want)
    assert effect.per_token == pytest.approx(want / 2 / now - 1)
    assert effect.per_token < 0 < want - now


def test_dispatch_policies_are_told_with_replicas(gathered: Gathered) -> None:
    """With replicas other policies are scored, and with one replica each none is."""
    nearest = _by_change(gathered)["dispatch policy nearest"]
    problem = gathered.problem.replace(dispatch="nearest")
    want = evaluate(problem, gathered.found.placement).step_time_s
    assert nearest.step_time_s == pytest.approx(want)
    rank_of_expert = np.tile(np.arange(8) % 6, (3, 1))
    placement = Placement.from_rank_of_expert(rank_of_expert, num_ranks=6)
    view = replace(gathered.found, placement=placement, score=evaluate(gathered.problem, placement))
    single = replace(gathered, views=(view,))
    assert not [change for change in _by_change(single) if change.startswith("dispatch")]


def test_searches_never_make_it_worse(gathered: Gathered) -> None:
    """More slots are searched from the placement itself; the result is told with its seconds."""
    effects = [e for e in what_would_help(gathered, 0.3) if e.kind == "search"]
    assert len(effects) == 2
    for effect in effects:
        assert effect.per_token is not None, effect.note
        assert effect.per_token <= 1e-9
        assert "0.3 s" in effect.note


def test_scenarios_change_alike(gathered: Gathered) -> None:
    """A change of a robust problem reaches every scenario."""
    problem = gathered.problem.replace(holdout=None)
    both = make_robust([problem, problem.at_phase("decode")])
    changed = everywhere(both, lambda p: p.replace(tokens_per_rank=2 * p.tokens_per_rank))
    assert [s.tokens_per_rank for s in changed.scenarios] == [
        2 * s.tokens_per_rank for s in both.scenarios
    ]


def test_replicas_are_worth_what_their_layer_loses(gathered: Gathered) -> None:
    """By brute force: every replica left out of the whole placement, the least loss counts."""
    problem, placement = gathered.problem, gathered.found.placement
    found = {(r.row, r.expert): r for r in replicated(gathered)}
    many = np.argwhere(placement.replica_count > 1)
    assert len(many) == len(found) > 0
    now = gathered.found.score.step_time_s
    for row, expert in many.tolist():
        losses = []
        for slot in np.flatnonzero(placement.expert_of_slot[row] == expert).tolist():
            table = placement.expert_of_slot.copy()
            table[row, slot] = -1
            losses.append(evaluate(problem, placement.replace(expert_of_slot=table)))
        least = min(losses, key=lambda score: score.step_time_s)
        one = found[row, expert]
        assert one.dropped_s == pytest.approx(least.step_time_s - now, abs=1e-12)
        assert one.fullest == int(least.rank_load[row].argmax())
        assert one.ranks == tuple(np.flatnonzero(placement.replicas_on_rank[row, expert]))
