"""Moves from one placement to the next."""

from __future__ import annotations

import numpy as np
import pytest

from moeplace.errors import InputError
from moeplace.formulations.heuristics.portfolio import auto
from moeplace.formulations.solve import solve
from moeplace.formulations.solver import Run
from moeplace.hwmodels import System
from moeplace.models import ModelSpec
from moeplace.placement import (
    Placement,
    evaluate,
    keep_slots,
    make_problem,
    moved_replicas,
    relabel_ranks,
    violations,
)
from moeplace.traces import Workload

MODEL = ModelSpec(
    name="tiny",
    num_layers=2,
    moe_layers=(0, 1),
    num_experts=16,
    top_k=2,
    hidden_size=64,
    moe_intermediate_size=32,
)
CONSTANTS = {
    "link_GBps": 2.0,
    "hbm_GBps": 20.0,
    "hbm_GB": 1.0,
    "peak_tflops": {"bf16": 0.02},
}
MESH = System("m", "mesh", "", 4, rows=2, columns=2, **CONSTANTS)
NODES = System("c", "cluster", "", 8, node_size=4, nic_GBps=0.5, **CONSTANTS)


def placement(rng, ranks=4, layers=2):
    table = np.array([rng.permutation(16) for _ in range(layers)], np.int32)
    return Placement(table, np.repeat(np.arange(ranks, dtype=np.int32), 16 // ranks), 16, ranks)


def workload(seed):
    load = 1 + np.random.default_rng(seed).pareto(1.5, size=(2, 16)).clip(max=5)
    return Workload.from_loads(load, top_k=2)


def test_moved_replicas_counts_new_homes_only():
    """Expert 1 joins rank 0 (one move), expert 0 leaves it (none), order inside is free."""
    old = Placement(np.array([[0, 2, 1, 3]]), np.array([0, 0, 1, 1]), 4, 2)
    new = Placement(np.array([[2, 1, 0, 3]]), np.array([0, 0, 1, 1]), 4, 2)
    assert moved_replicas(new, old).tolist() == [2]
    assert moved_replicas(old, old).tolist() == [0]


def test_keep_slots_moves_nothing_that_stays():
    """Experts that stay on a rank keep their slot; the placement itself is unchanged."""
    rng = np.random.default_rng(0)
    for _ in range(20):
        old, new = placement(rng), placement(rng)
        kept = keep_slots(new, old)
        np.testing.assert_array_equal(
            kept.canonical().expert_of_slot, new.canonical().expert_of_slot
        )
        stays = (new.replicas_on_rank > 0) & (old.replicas_on_rank > 0)
        changed = (kept.expert_of_slot != old.expert_of_slot).sum()
        assert changed == kept.expert_of_slot.size - stays.sum()


@pytest.mark.parametrize("system", [MESH, NODES], ids=["mesh", "nodes"])
def test_relabeling_is_free_and_saves_moves(system):
    """Renamed ranks cost the same to serve and move no more; a renamed copy moves nothing."""
    rng = np.random.default_rng(1)
    p = make_problem(MODEL, system, workload(0))
    for _ in range(5):
        old, new = placement(rng, system.ranks), placement(rng, system.ranks)
        renamed = relabel_ranks(new, old, system.topology)
        assert evaluate(p, renamed).objective == pytest.approx(evaluate(p, new).objective)
        assert (moved_replicas(renamed, old) <= moved_replicas(new, old)).all()
    width = 16 // system.ranks
    ranks = old.expert_of_slot.reshape(2, system.ranks, width)
    mirrored = old.replace(expert_of_slot=ranks[:, ::-1].reshape(2, -1))
    assert moved_replicas(relabel_ranks(mirrored, old, system.topology), old).sum() == 0


def test_moves_stay_within_their_cap_and_pay():
    """With 0 moves nothing changes; with more, time falls and the cap holds."""
    old = placement(np.random.default_rng(2))
    values = []
    for cap in (0, 2, 6, 16):
        p = make_problem(MODEL, MESH, workload(3), current=old, max_moves=cap)
        found = solve(p)
        assert not violations(p, found.placement)
        assert (moved_replicas(found.placement, old) <= cap).all()
        values.append(found.score.objective)
    assert values[0] == pytest.approx(evaluate(p, old).objective)
    assert values == sorted(values, reverse=True)
    assert values[-1] < values[0]


def test_a_price_counts_in_the_objective_and_deters():
    """Objective = time + price per byte moved; a high price leaves everything in place."""
    old = placement(np.random.default_rng(2))
    cheap = make_problem(MODEL, MESH, workload(3), current=old, move_price_us_per_GB=1e-3)
    score = solve(cheap).score
    moved_GB = score.moved_replicas * cheap.expert_bytes * 1e-9
    assert score.moved_replicas > 0
    assert score.objective == pytest.approx(score.step_time_s + 1e-9 * moved_GB, rel=1e-12)
    dear = make_problem(MODEL, MESH, workload(3), current=old, move_price_us_per_GB=1e12)
    assert solve(dear).score.moved_replicas == 0


def test_result_keeps_slots_of_what_stays():
    """Auto hands back experts that stay in the slots they had."""
    old = placement(np.random.default_rng(2))
    p = make_problem(MODEL, MESH, workload(3), current=old, max_moves=4)
    new = auto(p, Run(), None).placement
    changed = (new.expert_of_slot != old.expert_of_slot).sum(axis=1)
    np.testing.assert_array_equal(changed, moved_replicas(new, old))


def test_moves_need_a_current_placement():
    """A cap without a placement, a negative cap and another shape are refused."""
    with pytest.raises(InputError, match="current placement"):
        make_problem(MODEL, MESH, workload(0), max_moves=3)
    old = placement(np.random.default_rng(0))
    with pytest.raises(InputError, match="negative"):
        make_problem(MODEL, MESH, workload(0), current=old, max_moves=-1)
    with pytest.raises(InputError, match="layers, experts, ranks"):
        make_problem(MODEL, NODES, workload(0), current=old, max_moves=1)
    with pytest.raises(InputError, match="price in time"):
        make_problem(MODEL, MESH, workload(0), 0, "balance", current=old, move_price_us_per_GB=1)
