from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from moeplace.errors import InputError
from moeplace.formulations.heuristics.eplb import (
    eplb,
    eplb_global,
    eplb_hierarchical,
    eplb_is_uneven,
    eplb_label,
    eplb_maps,
)
from moeplace.formulations.solver import Run
from moeplace.placement import evaluate, violations
from moeplace.traces.shipped import shipped_workload

GOLDEN = json.loads((Path(__file__).parent / "data" / "eplb_golden.json").read_text())
README = GOLDEN["readme_example"]


def device_loads(weight, maps, gpus):
    """(layers, gpus) load of each device when replicas share evenly."""
    phy2log, _, logcnt = maps
    share = np.take_along_axis(np.asarray(weight, float) / logcnt, phy2log, axis=1)
    return share.reshape(len(weight), gpus, -1).sum(axis=2)


def balancedness(weight, maps, gpus):
    load = device_loads(weight, maps, gpus)
    return load.mean(axis=1) / load.max(axis=1)


def check_maps(maps, experts, replicas):
    """Assert that the three maps describe one placement, in EPLB's shapes and padding."""
    phy2log, log2phy, logcnt = maps
    layers = phy2log.shape[0]
    assert all(m.dtype == np.int64 for m in maps)
    assert phy2log.shape == (layers, replicas)
    assert logcnt.shape == (layers, experts)
    assert log2phy.shape == (layers, experts, logcnt.max())
    for layer in range(layers):
        for expert in range(experts):
            slots = log2phy[layer, expert]
            held = slots[slots >= 0]
            assert (slots[held.size :] == -1).all()
            assert held.size == logcnt[layer, expert]
            assert sorted(held) == np.flatnonzero(phy2log[layer] == expert).tolist()


def test_readme_example_index_by_index():
    """The README's example gives the original's maps, replica order included."""
    maps = eplb_maps(README["weight"], 16, 4, 2, 8)
    for made, wanted in zip(maps, ("phy2log", "log2phy", "logcnt"), strict=True):
        assert made.tolist() == README[wanted]
    np.testing.assert_allclose(
        balancedness(README["weight"], maps, 8), [0.8277243589743589, 0.8050139275766016]
    )


def test_readme_example_global_policy():
    """Three groups do not divide over two nodes: the global policy balances better."""
    maps = eplb_maps(README["weight"], 16, 3, 2, 8)
    np.testing.assert_allclose(balancedness(README["weight"], maps, 8), [0.9323, 0.8401], atol=5e-5)
    forced = eplb_maps(README["weight"], 16, 4, 2, 8, policy="global")
    assert forced[0].tolist() == maps[0].tolist()


@pytest.mark.parametrize("case", GOLDEN["cases"], ids=lambda c: f"{c['workload']}-{c['policy']}")
def test_real_loads_balance_as_the_original(case):
    """On measured DeepSeek-V3 loads, balancedness is the original's to 1e-9."""
    load = shipped_workload(case["workload"]).load
    arguments = [case[k] for k in ("num_replicas", "num_groups", "num_nodes", "num_gpus")]
    maps = eplb_maps(load, *arguments)
    made = balancedness(load, maps, case["num_gpus"])
    np.testing.assert_allclose(made[case["rows"]], case["balancedness"], atol=1e-9)
    assert made.mean() == pytest.approx(case["mean_balancedness"], abs=1e-9)


def test_full_golden_file(shared_data):
    """All layers of the complete file of the original's outputs, with its duplicate counts."""
    golden = json.loads((shared_data / "eplb_golden.json").read_text())
    for case in golden["cases"]:
        file = shared_data / "deepseek_v3_loads" / case["file"]
        load = np.array(json.loads(file.read_text())["logical_count"])[3:].astype(float)
        gpus = case["num_gpus"]
        maps = eplb_maps(load, case["num_replicas"], case["num_groups"], case["num_nodes"], gpus)
        wanted = (np.array(case["phy2log"]), None, np.array(case["logcnt"]))
        np.testing.assert_allclose(
            balancedness(load, maps, gpus), balancedness(load, wanted, gpus), atol=1e-9
        )
        np.testing.assert_array_equal(np.sort(maps[2], axis=1), np.sort(wanted[2], axis=1))


def test_duplicates_on_a_device_appear_on_real_loads():
    """The original wastes slots: an expert twice on a device, in most layers (EPLB issue 22)."""
    load = shipped_workload("deepseek-v3/prefill_in4096").load
    phy2log = np.sort(eplb_maps(load, 288, 8, 4, 32)[0].reshape(58, 32, 9), axis=2)
    doubled = (phy2log[:, :, 1:] == phy2log[:, :, :-1]).any(axis=(1, 2)).sum()
    assert doubled == GOLDEN["cases"][1]["layers_with_duplicate"]


# What vLLM's own tests ask of its copy of EPLB (tests/distributed/test_eplb_algo.py).
UPWARD = [[10, 20, 30, 40, 50, 60]]
BEHAVIOR = [
    ([[10, 20, 30, 40]], 4, 1, 1, 1),
    ([[50] * 8], 8, 2, 2, 4),
    ([[1000, *[1] * 7]], 12, 2, 2, 4),
    ([[10, 20, 30, 40, 50, 60], [60, 50, 40, 30, 20, 10], [25] * 6], 8, 2, 2, 4),
    ([[10, 20, 30, 40]], 8, 3, 2, 4),
    ([[100, 50, 200, 75, 150, 25, 300, 80]], 12, 4, 2, 4),
    (UPWARD, 8, 3, 2, 4),
    ([[10, 20, 30, 40]], 6, 2, 1, 2),
    ([[(7 * i) % 31 + 1 for i in range(16)]], 24, 8, 4, 8),
    ([[200, 150, 100, 50, 25, 12], [12, 25, 50, 100, 150, 200]], 10, 3, 1, 2),
]


@pytest.mark.parametrize("case", BEHAVIOR)
def test_behavior_engines_rely_on(case):
    """Shapes, ranges and sums hold, and the heaviest expert has the most replicas."""
    weight, replicas, *rest = case
    maps = eplb_maps(weight, replicas, *rest)
    check_maps(maps, len(weight[0]), replicas)
    counts = maps[2]
    assert (counts >= 1).all()
    assert (counts.sum(axis=1) == replicas).all()
    heaviest = np.asarray(weight).argmax(axis=1)
    row = np.arange(len(weight))
    assert (counts[row, heaviest] == counts.max(axis=1)).all()


def test_equal_weights_get_one_replica_each():
    """As many slots as experts: nothing is replicated."""
    assert (eplb_maps([[50] * 8], 8, 2, 2, 4)[2] == 1).all()


def test_extreme_imbalance_is_replicated():
    """An expert with nearly all load gets more replicas than the others."""
    counts = eplb_maps([[1000, *[1] * 7]], 12, 2, 2, 4)[2][0]
    assert counts[0] > counts[1:].max()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (([[1, 2, 3, 4]], 7, 2, 2, 4), "num_gpus 4"),
        (([[1, 2, 3, 4]], 2, 1, 1, 2), "num_replicas 2 < 4"),
        (([[1, 2, 3, 4, 5]], 8, 2, 2, 4), "num_groups 2"),
        (([[1, 2, 3, 4]], 9, 4, 2, 3), "num_nodes 2"),
        (([[1, 2, 3, 4]], 8, 2, 2, 4, "best"), "policy"),
        (([[1, 2, 3, 4]], 8, 3, 2, 4, "hierarchical"), "num_groups 3"),
        (([[1, 2, 3, 4]], 0, 1, 1, 1), "num_replicas"),
        (([[1, 2, 3, 4]], 8.0, 1, 1, 1), "num_replicas"),
        (([[1, 2, 3, -4]], 8, 1, 1, 1), "expert 3"),
        (([[1, float("nan")]], 2, 1, 1, 1), "nan"),
        (([1, 2, 3], 3, 1, 1, 1), "shape"),
        (([[1, 2], [3]], 3, 1, 1, 1), "table"),
        (([["1", "2"]], 2, 1, 1, 1), "table"),
        (([[1e300, 1]], 2, 1, 1, 1), "float32"),
    ],
)
def test_bad_arguments_are_named(arguments, words):
    """Every broken rule is an InputError that says which."""
    with pytest.raises(InputError, match=words):
        eplb_maps(*arguments)


def test_solver_is_hierarchical_where_groups_fit(make_tiny):
    """The solver follows EPLB's rule: hierarchical if groups divide over equal nodes."""
    load = np.asarray(README["weight"], float)
    grouped = make_tiny(load, 8, redundant=4, node_size=4, n_group=4)
    table = eplb(grouped, Run(), None).placement.expert_of_slot
    assert table.tolist() == README["phy2log"]
    assert eplb_hierarchical(grouped, Run(), None).placement.expert_of_slot.tolist() == (
        table.tolist()
    )
    other = eplb_global(grouped, Run(), None).placement
    assert (
        evaluate(grouped, other).objective
        < evaluate(grouped, eplb(grouped, Run(), None).placement).objective
    )
    ungrouped = make_tiny(load, 8, redundant=4, node_size=4, n_group=3)
    assert eplb(ungrouped, Run(), None).placement.expert_of_slot.tolist() == (
        other.expert_of_slot.tolist()
    )


def test_unequal_nodes_leave_the_global_policy(make_tiny):
    """Six ranks on nodes of four are no two equal nodes."""
    problem = make_tiny(README["weight"], 6, node_size=4, n_group=2)
    same = eplb_global(problem, Run(), None).placement.expert_of_slot
    assert (eplb(problem, Run(), None).placement.expert_of_slot == same).all()
    with pytest.raises(InputError, match="nodes of 4"):
        eplb_hierarchical(problem, Run(), None)


def test_uneven_slots_use_every_replica(make_tiny):
    """Where the slots do not divide: EPLB's counts, packed under the slot cap, and labeled so."""
    problem = make_tiny(README["weight"], 5, redundant=1)
    assert eplb_is_uneven(problem)
    assert eplb_label(problem) == "eplb (uneven)"
    placement = eplb(problem, Run(), None).placement
    assert (placement.replica_count.sum(axis=1) == 13).all()
    assert (placement.replica_count.argmax(axis=1) == [10, 5]).all()
    assert violations(problem, placement) == []
    assert evaluate(problem, placement).balancedness > 0.9
    with pytest.raises(InputError, match="13 replicas"):
        eplb_hierarchical(problem, Run(), None)
    assert eplb_label(make_tiny(README["weight"], 4)) == "eplb"


def test_spare_slots_stay_empty(make_tiny):
    """With more slots than replicas EPLB still fills E + N of them."""
    problem = make_tiny(README["weight"], 4, redundant=4, slots_per_rank=6)
    placement = eplb(problem, Run(), None).placement
    assert (placement.replica_count.sum(axis=1) == 16).all()
