"""Migration schedules, gone through by hand."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from moeplace.errors import CheckFailedError, InfeasibleError, InputError
from moeplace.hwmodels import load_system
from moeplace.placement import Placement, moved_replicas
from moeplace.replay.schedule import Copy, Round, Schedule, check_schedule, plan_migration


def random_placement(
    rng: np.random.Generator, layers: int, experts: int, ranks: int, width: int, fill: int
) -> Placement:
    """Return a valid placement with `fill` replicas a layer, none twice on a rank."""
    table = np.full((layers, ranks, width), -1, np.int32)
    for layer in range(layers):
        while True:
            order = [*range(experts), *rng.integers(0, experts, fill - experts)]
            slots = rng.permutation(ranks * width)[:fill]
            row = np.full(ranks * width, -1)
            row[slots] = order
            shaped = row.reshape(ranks, width)
            if all(len(set(r[r >= 0])) == (r >= 0).sum() for r in shaped):
                table[layer] = shaped
                break
    rank = np.repeat(np.arange(ranks, dtype=np.int32), width)
    return Placement(table.reshape(layers, -1), rank, experts, ranks)


def simulate(schedule: Schedule) -> tuple[np.ndarray, int]:
    """Go through a schedule; return the final table and the fewest slots an expert ever had."""
    old, rank = schedule.old, schedule.new.rank_of_slot
    table = old.expert_of_slot.copy()
    fewest = 10**9
    for part in schedule.rounds:
        row = table[part.layer]
        experts = set(row[row >= 0].tolist())
        during = row.copy()
        buffers: Counter[int] = Counter()
        for copy in part.copies:
            if copy.staged:
                buffers[int(rank[copy.target])] += 1
            else:
                during[copy.target] = -1
        assert all(n <= schedule.staging for n in buffers.values())
        assert all(during[c.source] == c.expert for c in part.copies)
        for copy in part.copies:
            row[copy.target] = copy.expert
        for state in (during, row):
            held = Counter(state[state >= 0].tolist())
            fewest = min(fewest, *(held[e] for e in experts))
    return table, fewest


@pytest.mark.parametrize("seed", range(25))
@pytest.mark.parametrize(("width", "fill"), [(3, 12), (3, 11), (4, 16), (4, 14)])
def test_coverage_and_end(seed: int, width: int, fill: int) -> None:
    """Every expert keeps a slot at all times, and the end is the new map."""
    rng = np.random.default_rng(seed)
    old, new = (random_placement(rng, 2, 11, 4, width, fill) for _ in range(2))
    schedule = plan_migration(old, new)
    table, fewest = simulate(schedule)
    goal = schedule.new.expert_of_slot
    assert fewest >= 1
    np.testing.assert_array_equal(np.where(goal >= 0, table, -1), goal)
    check_schedule(schedule)


def test_no_copy_more_than_needed_with_room() -> None:
    """With buffers for whole rings every moved replica is copied once."""
    rng = np.random.default_rng(3)
    old, new = (random_placement(rng, 3, 11, 4, 3, 12) for _ in range(2))
    schedule = plan_migration(old, new, staging=12)
    assert schedule.copies == moved_replicas(new, old).sum()


def test_a_swap_needs_a_buffer() -> None:
    """Two full ranks that exchange single replicas: refused without buffers, one round with."""
    old = Placement(np.array([[0, 1]]), np.array([0, 1]), 2, 2)
    new = Placement(np.array([[1, 0]]), np.array([0, 1]), 2, 2)
    with pytest.raises(InfeasibleError, match="wait for each other"):
        plan_migration(old, new, staging=0)
    (only,) = plan_migration(old, new, staging=1).rounds
    assert {(c.expert, c.target, c.staged) for c in only.copies} == {(1, 0, True), (0, 1, True)}


def test_per_rank_limit() -> None:
    """No rank sends or receives more in a round than allowed."""
    rng = np.random.default_rng(0)
    old, new = (random_placement(rng, 1, 11, 4, 4, 16) for _ in range(2))
    schedule = plan_migration(old, new, per_rank=1)
    rank = new.rank_of_slot
    for part in schedule.rounds:
        assert max(Counter(rank[c.target] for c in part.copies).values()) == 1
        assert max(Counter(rank[c.source] for c in part.copies).values()) == 1
    simulate(schedule)


def test_nearest_source_and_time() -> None:
    """A copy comes from the rank of its own node, and takes bytes over bandwidth."""
    topology = load_system("h100-sxm", 16).topology
    rank = np.arange(16, dtype=np.int32)
    row = np.full(16, -1)
    row[[0, 8]] = 0
    old = Placement(row[None], rank, 1, 16)
    row[9] = 0
    new = Placement(row[None], rank, 1, 16)
    (only,) = plan_migration(old, new, topology=topology, expert_bytes=1e9).rounds
    assert only.copies[0].source == 8
    route = topology.route(8, 9)
    expected = 1e9 / topology.bandwidth_Bps[route].min() + topology.latency_s[route].sum()
    assert only.seconds == pytest.approx(expected)


def test_check_finds_a_wrong_source() -> None:
    """A schedule that reads from a slot without the expert is refused."""
    old = Placement(np.array([[0, 1]]), np.array([0, 1]), 2, 2)
    wrong = Schedule(old, old, (Round(0, (Copy(1, 0, 1, True),)),), 1)
    with pytest.raises(CheckFailedError, match="has no expert"):
        check_schedule(wrong)


def test_check_finds_a_lost_expert() -> None:
    """A schedule that overwrites the last replica is refused."""
    old = Placement(np.array([[0, 1]]), np.array([0, 1]), 2, 2)
    wrong = Schedule(old, old, (Round(0, (Copy(0, 0, 1, False),)),), 1)
    with pytest.raises(CheckFailedError, match="expert 1 has no slot"):
        check_schedule(wrong)


def test_lost_expert_is_refused() -> None:
    """A new map without an expert of the old one is no goal."""
    old = Placement(np.array([[0, 1]]), np.array([0, 1]), 2, 2)
    new = replace(old, expert_of_slot=np.array([[0, 0]]))
    with pytest.raises(InputError, match="lacks expert 1"):
        plan_migration(old, new)
