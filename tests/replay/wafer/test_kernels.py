from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING

import numpy as np
import pytest

from moeplace.hwmodels import load_system
from moeplace.models import ModelSpec
from moeplace.replay.wafer.allocation_kernels import allocate_greedily, count_pairs
from moeplace.replay.wafer.assignment_kernels import (
    assign_requests,
    die_time_s,
    order_all,
    spread_reads,
)
from moeplace.replay.wafer.bound import layer_bound_s
from moeplace.replay.wafer.machine import make_machine
from moeplace.replay.wafer.predictor import HeatMap
from moeplace.replay.wafer.simulator import Tasks, run_layer
from moeplace.replay.wafer.static_placement import replica_counts

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from moeplace.replay.wafer.demand import Demand
    from moeplace.replay.wafer.machine import Machine


def greedy(
    counts: list[int], present: NDArray[np.bool_], hops: NDArray[np.int64], block: int = 50
) -> NDArray[np.int64]:
    """Run Algorithm 1 with one second per request, two per read and three per link."""
    far = np.where(present[:, None, :], hops[None], 99)
    given = np.zeros(present.shape, np.int64)
    compute = np.arange(max(counts) + 1, dtype=float)
    allocate_greedily(
        np.array(counts), present, far.argmin(axis=2), hops, compute, 2.0, 3.0, 0.0, block, 5,
        512.0, given,
    )  # fmt: skip
    return given


def row_of_dies(dies: int) -> NDArray[np.int64]:
    """Return the hops of a row of dies."""
    return np.abs(np.subtract.outer(np.arange(dies), np.arange(dies)))


def test_algorithm_one_splits_a_hot_expert_over_neighbors_only() -> None:
    """A hundred requests at home on die 0 of three: die 1 helps, die 2 is too far."""
    given = greedy([100], np.array([[True, False, False]]), row_of_dies(3), block=10)
    assert given[0, 2] == 0
    assert given[0].sum() == 100
    # Die 1 pays five seconds for weights: 10 requests a block, so 50 there or 60 at home.
    assert given[0].tolist() == [50, 50, 0]


def test_algorithm_one_keeps_small_experts_at_home() -> None:
    """Where fetching costs more than it saves nothing moves."""
    present = np.eye(3, dtype=bool)
    np.testing.assert_array_equal(greedy([4, 4, 4], present, row_of_dies(3)), 4 * present)


def test_blocks_are_not_split() -> None:
    """With blocks as large as the expert it stays whole."""
    given = greedy([100], np.array([[True, False, False]]), row_of_dies(3), block=100)
    assert given[0].tolist() == [100, 0, 0]


def test_pairs_of_successive_tokens() -> None:
    """Every expert before with every expert now; what is absent is left out."""
    pairs = np.zeros((4, 4), np.int64)
    count_pairs(np.array([[0, 1], [2, 4]]), np.array([[2, 3], [0, 1]]), pairs)
    expected = np.zeros((4, 4), np.int64)
    for a, b in ((0, 2), (0, 3), (1, 2), (1, 3), (2, 0), (2, 1)):
        expected[a, b] = 1
    np.testing.assert_array_equal(pairs, expected)


def test_predicted_is_the_union_of_rows(demand: Demand) -> None:
    """The paper's example: a die that runs 1 and 4 expects 2, 4 and 6."""
    heat = HeatMap(demand, 0.1)
    heat.pairs[0] = 0
    heat.pairs[0, 1, [2, 4]] = 5, 9
    heat.pairs[0, 4, [4, 6]] = 7, 3
    heat.pairs[0, 5, 7] = 8
    found = heat.predicted(0, np.array([3, 3]), np.array([1, 4]), 6)
    assert heat.top == 2
    assert np.flatnonzero(found[3]).tolist() == [2, 4, 6]
    assert found.sum() == 3


def test_heat_map_counts_the_prompts_and_then_every_step(demand: Demand) -> None:
    """Prompt pairs first; a step adds batch times top_k squared pairs, the first one none."""
    heat = HeatMap(demand, 0.2)
    start = heat.pairs[0].sum()
    assert start == demand.follows.sum() * 4
    heat.observe(0, 0)
    assert heat.pairs[0].sum() == start
    heat.observe(1, 0)
    assert heat.pairs[0].sum() == start + demand.batch * 4


@pytest.mark.parametrize("seed", range(4))
def test_die_time_is_that_of_the_event_loop(seed: int, machine: Machine) -> None:
    """Without cache times a die on its own takes as long as the event loop says."""
    free = machine.constants.replace(llc_hit_ns=0, llc_miss_ns=0, llc_write_ns=0)
    bare = make_machine(
        ModelSpec(
            name="bare", num_layers=1, moe_layers=(0,), num_experts=20, top_k=1,
            hidden_size=2048, moe_intermediate_size=2048,
        ),
        load_system("mesh:1x2"),
        2000,
        constants=free,
    )  # fmt: skip
    tokens = np.random.default_rng(seed).integers(0, 2000, 20) // 3 * (np.arange(20) % 3 > 0)
    expert = np.flatnonzero(tokens)
    die = np.zeros(expert.size, np.int64)
    order = order_all(die, bare.compute_s[tokens[expert]], bare.hbm_slice_s, 3, 2)
    tasks = Tasks(
        die=die,
        expert=expert,
        tokens=tokens[expert],
        source=np.zeros((expert.size, 3), np.int64),
        keep=np.zeros(expert.size, bool),
        order=order,
    )
    alone = die_time_s(tokens, bare.compute_s, bare.hbm_slice_s, 3, 3)
    assert run_layer(bare, tasks).seconds == pytest.approx(alone)


@pytest.mark.parametrize("seed", range(6))
def test_assignment_is_near_the_best_of_all(seed: int) -> None:
    """Four experts on three dies, whole or split: never worse than any whole assignment."""
    rng = np.random.default_rng(seed)
    counts = rng.integers(1, 30, 4)
    allowed = rng.random((4, 3)) < 0.6
    allowed[np.arange(4), rng.integers(0, 3, 4)] = True
    compute = np.arange(31, dtype=float)
    given = np.zeros((3, 4), np.int64)
    assign_requests(counts, allowed, compute, 5.0, 1, 2, 100, given)
    np.testing.assert_array_equal(given.sum(axis=0), counts)
    assert not given.T[~allowed].any()
    found = max(die_time_s(row, compute, 5.0, 1, 2) for row in given)
    best = np.inf
    for where in product(range(3), repeat=4):
        if all(allowed[e, d] for e, d in enumerate(where)):
            whole = np.zeros((3, 4), np.int64)
            whole[list(where), np.arange(4)] = counts
            best = min(best, max(die_time_s(row, compute, 5.0, 1, 2) for row in whole))
    assert found <= best * (1 + 1e-9)


@pytest.mark.parametrize("seed", range(6))
def test_reads_are_spread_as_evenly_as_can_be(seed: int) -> None:
    """The busiest HBM has as few reads as in the best of all choices of sources."""
    rng = np.random.default_rng(seed)
    expert = np.arange(6)
    die = rng.integers(0, 2, 6)
    present = rng.random((6, 4)) < 0.4
    present[expert, die] = True
    source = np.repeat(die[:, None], 1, axis=1)
    spread_reads(expert, present, row_of_dies(4), die, 9, np.zeros(4, np.int64), source)
    assert present[expert[:, None], source].all()
    choices = product(*(np.flatnonzero(present[e]) for e in expert))
    best = min(np.bincount(choice).max() for choice in choices)
    assert np.bincount(source.ravel()).max() == best


def test_replicas_make_the_largest_share_least() -> None:
    """Against all ways of giving five more replicas to three experts."""
    cost = np.array([9.0, 4.0, 1.0])
    best = min(
        max(cost / np.array(counts))
        for counts in product(range(1, 7), repeat=3)
        if sum(counts) <= 8
    )
    counts = replica_counts(cost, 8, 6)
    assert counts.sum() == 8
    assert max(cost / counts) == pytest.approx(best)
    assert replica_counts(cost, 30, 2).tolist() == [2, 2, 2]


def test_bound_is_below_every_plan_of_a_tiny_wafer() -> None:
    """Three experts on two dies: all dies, sources and splits in halves."""
    model = ModelSpec(
        name="tiny", num_layers=1, moe_layers=(0,), num_experts=3, top_k=1,
        hidden_size=1024, moe_intermediate_size=1024,
    )  # fmt: skip
    on = make_machine(model, load_system("mesh:1x2"), 4000)
    counts = np.array([4000, 800, 2])
    least = np.inf
    for where in product(((0,), (1,), (0, 1)), repeat=3):
        rows = [(d, e, counts[e] // len(dies)) for e, dies in enumerate(where) for d in dies]
        die, expert, tokens = (np.array(column, np.int64) for column in zip(*rows, strict=True))
        for source in product((0, 1), repeat=len(rows)):
            tasks = Tasks(
                die=die, expert=expert, tokens=tokens,
                source=np.repeat(np.array(source)[:, None], 3, axis=1),
                keep=np.zeros(die.size, bool),
            )  # fmt: skip
            least = min(least, run_layer(on, tasks).seconds)
    bound = layer_bound_s(on, counts)
    assert 0.8 * least < bound <= least


def test_products_cost_less_undivided(machine: Machine) -> None:
    """Time grows with requests, and slower than in proportion: what the bound rests on."""
    assert (np.diff(machine.compute_s) > 0).all()
    per_token = machine.compute_s[1:] / np.arange(1, machine.compute_s.size)
    assert (np.diff(per_token) <= 1e-18).all()
