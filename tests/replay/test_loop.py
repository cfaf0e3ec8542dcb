"""The event loop, the price of moving, and the policies' own rules."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from moeplace import evaluate, load_model, load_system
from moeplace.errors import InputError, UsageError
from moeplace.placement import Problem, moved_replicas
from moeplace.replay.anchored import anchored_layer
from moeplace.replay.drift import Drift, drifting_windows
from moeplace.replay.fetches import Mover
from moeplace.replay.horizon import Age, advise, best_interval
from moeplace.replay.improver import Improver
from moeplace.replay.instance import replay_problem
from moeplace.replay.loop import replay
from moeplace.replay.maps import (
    balanced,
    contiguous_table,
    eplb_table,
    placement_of,
    proportional,
    start_table,
)
from moeplace.replay.policies.flexmoe import FlexMoe
from moeplace.replay.policies.smartmoe import assign_groups, exchanged, virtual_devices
from moeplace.replay.policy import Bench, Situation
from moeplace.replay.scorer import Scorer
from moeplace.replay.settings import Settings
from moeplace.replay.windows import Windows, load_windows, trace_windows
from moeplace.traces import RoutingTrace, Workload

MODEL = load_model("mixtral-8x7b").replace(num_experts=16, moe_layers=tuple(range(4)), num_layers=4)


def instance(
    ranks: int = 4, windows: int = 12, redundant: int = 8, memory: float = 6.0
) -> tuple[Problem, Windows]:
    """Return a problem and windows of drifting loads."""
    drift = Drift(layers=4, experts=16, hot_share=0.6, hot_experts=4, memory=memory)
    system = load_system("h100-sxm", ranks)
    return replay_problem(MODEL, system, drifting_windows(drift, windows, 1), redundant=redundant)


def bench_of(problem: Problem, *, training: bool = False, steps: int = 1000) -> Bench:
    """Return the bench of a replay."""
    scorer, mover = Scorer(problem, training=training), Mover(problem, training=training)
    return Bench(problem, scorer, mover, steps, 10.0)


def test_static_is_the_sum_of_scores() -> None:
    """A static map costs the steps of every window under evaluate, as copies are exact here."""
    system = load_system("h100-sxm", 4)
    drift = Drift(layers=4, experts=16, hot_share=0.6, hot_experts=4)
    problem, windows = replay_problem(
        MODEL, system, drifting_windows(drift, 3, 0), phase="decode", dedup="none"
    )
    run = replay(problem, windows, ["static"], Settings(steps=7)).runs[0]
    placement = placement_of(contiguous_table(problem), problem)
    expected = [
        7 * evaluate(problem.with_workload(Workload.from_loads(w.load)), placement).step_time_s
        for w in windows
    ]
    np.testing.assert_allclose(run.window_s, expected, rtol=1e-12)


def test_measured_token_sets_are_used() -> None:
    """With the tokens at hand copies are those of evaluate on every window's own token sets."""
    rng = np.random.default_rng(0)
    ids = np.array([[rng.permutation(16)[:2] // 2 * 2 for _ in range(4)] for _ in range(4)])
    ids[:, :, 1] = ids[:, :, 0] + 1  # an expert and its neighbor always go together
    trace = RoutingTrace.from_arrays(np.repeat(ids, 50, axis=0), 16, range(4))
    windows = trace_windows(trace, size=100, keep_tokens=True)
    problem, bound = replay_problem(MODEL, load_system("h100-sxm", 4), windows, dedup="rank")
    found = replay(problem, bound, ["static"], Settings(steps=1))
    placement = placement_of(contiguous_table(problem), problem)
    for window, seconds in zip(bound, found.runs[0].window_s, strict=True):
        assert window.tokens is not None
        exact = problem.with_workload(Workload.from_trace(window.tokens))
        assert seconds == pytest.approx(evaluate(exact, placement).step_time_s)
    assert found.communication == "measured token sets"


def test_fetches_by_hand() -> None:
    """Each replica comes from a rank of its own node; links add up; slots do not matter."""
    problem, _ = instance(ranks=16, redundant=16)
    mover = Mover(problem)
    old = contiguous_table(problem)
    new = old.copy()
    new[2, 3, 1] = 0  # from rank 0, same node
    new[2, 9, 1] = 0  # from rank 0, another node
    found = mover.fetches(old, new)
    topology = problem.plan.topology
    on_link = np.zeros(topology.num_links)
    for target in (3, 9):
        on_link[topology.route(0, target)] += problem.expert_bytes
    assert found.moved.tolist() == [0, 0, 2, 0]
    assert sorted(found.orders.tolist()) == [[2, 0, 0, 3], [2, 0, 0, 9]]
    assert found.seconds == pytest.approx((on_link / topology.bandwidth_Bps).max(), rel=0.01)
    shuffled = np.ascontiguousarray(old[:, :, ::-1])
    assert mover.fetches(old, shuffled).seconds == 0


def test_moved_replicas_agree() -> None:
    """Counts are those of placements."""
    problem, windows = instance()
    loads = [window.load for window in windows]
    old, new = (balanced(problem, loads[i], 8) for i in (0, 5))
    expected = moved_replicas(placement_of(new, problem), placement_of(old, problem))
    np.testing.assert_array_equal(Mover(problem).fetches(old, new).moved, expected)


def test_stop_waits_and_overlap_does_not() -> None:
    """Stopping adds the time of copies to the window; overlapping keeps the old map meanwhile."""
    problem, windows = instance()
    names = ["static:start=eplb", "eplb-every:every=5:rule=global"]
    stopped, flowing = (
        replay(problem, windows, names, Settings(steps=100, migration=m))
        for m in ("stop", "overlap")
    )
    changed = stopped.runs[1].moved > 0
    assert (stopped.runs[1].exposed_s[changed] > 0).all()
    assert flowing.runs[1].exposed_s.sum() == 0
    first = int(np.flatnonzero(changed)[0])
    between = sorted([stopped.runs[0].window_s[first], stopped.runs[1].window_s[first]])
    assert flowing.runs[1].window_s[first] != pytest.approx(between[0], rel=1e-9)


def test_slow_links_hold_the_old_map() -> None:
    """Copies that take longer than a window come into use later."""
    problem, windows = instance()
    problem = problem.replace(tokens_per_rank=8)
    names = ["static:start=eplb", "eplb-every:every=5:rule=global"]
    found = replay(problem, windows, names, Settings(steps=1, migration="overlap"))
    static, moving = found.runs
    assert moving.moved[5] > 0
    assert moving.window_s[5] == pytest.approx(static.window_s[5], rel=1e-12)


def test_improver_against_evaluate() -> None:
    """With free moves the layer time falls, and moves are counted right; with dear ones none."""
    problem, windows = instance()
    bench, loads = bench_of(problem), [window.load for window in windows]
    improver, old = Improver(bench), eplb_table(problem, loads[0])
    table, moves = improver.improved(loads[6], old)
    before, after = (bench.scorer.times(loads[6], t).total_s for t in (old, table))
    assert after.sum() < before.sum()
    np.testing.assert_array_equal(moves, bench.mover.fetches(old, table).moved)
    same, none = improver.improved(loads[6], old, price_s=1e9)
    assert none.sum() == 0
    assert bench.mover.fetches(old, same).moved.sum() == 0


@pytest.mark.parametrize("most", [1, 2, 5])
def test_improver_keeps_the_limit_of_moves(most: int) -> None:
    """No layer moves more than allowed; a higher limit is never worse here."""
    problem, windows = instance()
    bench, loads = bench_of(problem), [window.load for window in windows]
    old = eplb_table(problem, loads[0])
    table, moves = Improver(bench).improved(loads[6], old, max_moves=most)
    assert moves.max() <= most
    assert (bench.mover.fetches(old, table).moved <= most).all()


def test_improver_reaches_the_balance_of_a_fresh_map() -> None:
    """From a stale map, moves without limit come within 5 % of a map made from scratch."""
    problem, windows = instance(redundant=8)
    bench, loads = bench_of(problem), [window.load for window in windows]
    table, _ = Improver(bench).improved(loads[9], eplb_table(problem, loads[0]))
    fresh = balanced(problem, loads[9], 8)
    ours, theirs = (bench.scorer.times(loads[9], t).compute_s.sum() for t in (table, fresh))
    assert ours <= 1.05 * theirs


def test_triggered_moves_less_where_moving_is_dearer() -> None:
    """A larger margin moves fewer bytes; where nothing is gained nothing moves."""
    problem, windows = instance(memory=20.0)
    names = [f"moeplace-triggered:margin={m}" for m in (0.1, 10, 1e6)]
    found = replay(problem, windows, names, Settings(steps=1000))
    bytes_moved = [run.nbytes.sum() for run in found.runs]
    assert bytes_moved[0] >= bytes_moved[1] > bytes_moved[2] == 0


def test_triggered_caps() -> None:
    """At most the replicas of a layer and the layers of a window that were allowed."""
    problem, windows = instance()
    run = replay(
        problem, windows, ["moeplace-triggered:moves=1:layers=2"], Settings(steps=10000)
    ).runs[0]
    assert 0 < run.moved.max() <= 2


def test_flexmoe_pairs_expand_and_shrink() -> None:
    """The vExpert of the emptiest expert goes to the fullest one; the ratio falls."""
    problem, _ = instance(redundant=16)
    bench = bench_of(problem)
    policy = FlexMoe(bench, changes=1)
    load = np.ones((4, 16))
    load[:, 0], load[:, 5] = 12.0, 0.1
    table = policy.start(load)
    decision = policy.decide(Situation(1, load, table))
    assert decision is not None
    before, after = (np.bincount(t[0].ravel(), minlength=16) for t in (table, decision.table))
    assert (after - before)[[0, 5]].tolist() == [1, -1]
    old, new = (bench.scorer.times(load, t).ratio for t in (table, decision.table))
    assert (new < old).all()


def test_flexmoe_keeps_balance_below_the_threshold() -> None:
    """Nothing changes while the balance ratio is below the threshold."""
    problem, windows = instance(redundant=16)
    load = windows.first().load
    policy = FlexMoe(bench_of(problem), threshold=99.0)
    assert policy.decide(Situation(1, load, policy.start(load))) is None


def test_flexmoe_sees_synchronization() -> None:
    """In training replicas cost: where gradients are dear, fewer vExperts change."""
    problem, windows = instance(ranks=16, redundant=16)
    load = [window.load for window in windows][6]
    counts = []
    for training in (False, True):
        policy = FlexMoe(bench_of(problem, training=training))
        table = policy.start(load)
        decision = policy.decide(Situation(1, load, table))
        counts.append(0 if decision is None else int((decision.table != table).sum()))
    assert counts[1] < counts[0]


def test_shadowing_pays_for_every_step() -> None:
    """Hot experts on every rank even out the load; broadcasts are in the step time."""
    problem, windows = instance()
    found = replay(problem, windows, ["static", "fastermoe-shadowing"], Settings(steps=10))
    static, shadow = found.runs
    assert shadow.ratio.mean() < static.ratio.mean()
    assert shadow.terms_s.sum() < shadow.window_s.sum() * (1 - 1e-6)


def test_symi_slots_by_hand() -> None:
    """Slots in proportion, one each at least, largest remainders first."""
    assert proportional(np.array([6.0, 1.0, 1.0, 0.0]), 8).tolist() == [5, 1, 1, 1]
    assert proportional(np.zeros(3), 5).sum() == 5
    rng = np.random.default_rng(0)
    for _ in range(50):
        count = proportional(rng.random(9) ** 4, 30)
        assert count.sum() == 30
        assert count.min() >= 1


def test_anchored_slots_move_little() -> None:
    """A map that fits already stays; a hot expert fills the slots that others give up."""
    load = np.array([4.0, 2.0, 1.0, 1.0])
    table = np.array([[0, 0], [0, 0], [1, 1], [2, 3]], np.int32)
    np.testing.assert_array_equal(anchored_layer(table, load), table)
    hot = np.array([1.0, 1.0, 1.0, 5.0])
    found = anchored_layer(table, hot)
    assert np.bincount(found.ravel(), minlength=4).tolist() == [1, 1, 1, 5]
    assert found[1].tolist() == [3, 3]


@pytest.mark.parametrize("seed", range(5))
def test_smartmoe_groups_are_optimal(seed: int) -> None:
    """The dynamic programme finds the smallest largest load, against enumeration."""
    weight = np.random.default_rng(seed).random(6)
    found = assign_groups(weight, 3)
    assert np.bincount(found).tolist() == [2, 2, 2]
    every = (
        np.bincount(ranks, weights=weight, minlength=3).max()
        for ranks in product(range(3), repeat=6)
        if np.bincount(ranks, minlength=3).tolist() == [2, 2, 2]
    )
    assert np.bincount(found, weights=weight).max() == pytest.approx(min(every))


def test_smartmoe_permutes() -> None:
    """Every expert once; with few ranks by groups, with many greedily."""
    load = np.random.default_rng(0).random(16)
    assert (virtual_devices(16, 4), virtual_devices(64, 16)) == (8, 16)
    for ranks in (2, 4, 8):
        table = exchanged(load, ranks, 16 // ranks)
        assert sorted(table.ravel().tolist()) == list(range(16))


def test_advice_by_hand() -> None:
    """Loss grows 1 s a window, copies take 4 s: every third window, or never with dear copies."""
    ages = tuple(
        Age(n, 1, 0.0, 0.0, 0.0, 0.0, 4.0 if n else 0.0, float(n)) for n in range(9)
    )  # N: mean loss (N + 1) / 2, copies 4 / N
    every, loss_s, never_s = best_interval(ages)
    assert (every, loss_s, never_s) == (3, pytest.approx(2 + 4 / 3), 4.5)
    dear = tuple(Age(n, 1, 0.0, 0.0, 0.0, 0.0, 999.0, float(n)) for n in range(9))
    assert best_interval(dear)[0] == 0


def test_maps_age_on_drifting_loads() -> None:
    """The older a map the slower it is; on steady loads it does not age."""
    problem, windows = instance(windows=34, memory=10.0)
    ages = advise(problem, windows, Settings(steps=1000)).ages
    assert ages[1].slower < ages[-1].slower
    steady = load_windows([Workload.from_loads(windows.first().load)], windows=9)
    still = advise(problem, steady, Settings(steps=1000))
    assert still.every == 0
    assert max(abs(age.slower) for age in still.ages) < 1e-12


def test_dense_rows_are_left_out() -> None:
    """Loads with rows of zeros for dense layers are bound to the MoE layers of the model."""
    model = MODEL.replace(num_layers=6, moe_layers=(2, 3, 4, 5))
    load = np.ones((6, 16))
    load[:2] = 0
    windows = load_windows([Workload.from_loads(load)])
    problem, bound = replay_problem(model, load_system("h100-sxm", 4), windows)
    assert (problem.num_layers, bound.first().load.shape) == (4, (4, 16))
    assert bound.layer_ids == (2, 3, 4, 5)


def test_bad_replays_are_refused() -> None:
    """No policy, unknown migrations, other shapes, unknown starts."""
    problem, windows = instance()
    with pytest.raises(UsageError, match="at least one policy"):
        replay(problem, windows, [])
    with pytest.raises(UsageError, match="migration"):
        Settings(migration="later")
    other = drifting_windows(Drift(layers=2, experts=16, hot_experts=4), 3)
    with pytest.raises(InputError, match="2 layers"):
        replay(problem, other, ["static"])
    with pytest.raises(UsageError, match="cannot start"):
        start_table(bench_of(problem), windows.first().load, "middle")


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("layers", [4, 20])
def test_timed_ways_are_scored_as_any_map(training, layers):
    """Times before and after are the scorer's, moves the mover's, in threads or not."""
    drift = Drift(layers=layers, experts=16, hot_share=0.6, hot_experts=4, memory=6.0)
    model = MODEL.replace(moe_layers=tuple(range(layers)), num_layers=layers)
    system = load_system("h100-sxm", 4)
    problem, through = replay_problem(
        model, system, drifting_windows(drift, 3, 1), redundant=8, slots_per_rank=6
    )
    bench = bench_of(problem, training=training)
    load, later = (window.load for window in list(through)[::2])
    table = eplb_table(problem, load, "global")
    improver = Improver(bench)
    way = improver.timed(later, table, worth=1e4, price_s=1e-3)
    again, moves = improver.improved(later, table, worth=1e4, price_s=1e-3)
    assert moves.any()
    np.testing.assert_array_equal(way.table, again)
    np.testing.assert_array_equal(way.moves, bench.mover.fetches(table, way.table).moved)
    np.testing.assert_allclose(way.before_s, bench.scorer.times(later, table).total_s)
    np.testing.assert_allclose(way.after_s, bench.scorer.times(later, way.table).total_s)
    assert (way.after_s[moves == 0] == way.before_s[moves == 0]).all()
