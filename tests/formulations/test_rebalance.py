from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moeplace.errors import InputError
from moeplace.formulations.heuristics.eplb import eplb_maps
from moeplace.formulations.rebalance import rebalance_experts
from moeplace.traces.shipped import shipped_workload

CASES = [
    ([[90, 132, 40, 61, 104, 165, 39, 4, 73, 56, 183, 86],
      [20, 107, 104, 64, 19, 197, 187, 157, 172, 86, 16, 27]], 16, 4, 2, 8),
    ([[10, 20, 30, 40]], 4, 1, 1, 1),
    ([[50] * 8], 8, 2, 2, 4),
    ([[1000, *[1] * 7]], 12, 2, 2, 4),
    ([[10, 20, 30, 40, 50, 60], [60, 50, 40, 30, 20, 10], [25] * 6], 8, 2, 2, 4),
    ([[10, 20, 30, 40]], 8, 3, 2, 4),
    ([[100, 50, 200, 75, 150, 25, 300, 80]], 12, 4, 2, 4),
    ([[10, 20, 30, 40]], 6, 2, 1, 2),
    ([[200, 150, 100, 50, 25, 12], [12, 25, 50, 100, 150, 200]], 10, 3, 1, 2),
    ([[0, 0, 0, 0], [5, 0, 0, 0]], 8, 1, 1, 4),
]  # fmt: skip


def device_loads(weight, maps, gpus):
    """(layers, gpus) load of each device when replicas share evenly."""
    share = np.take_along_axis(np.asarray(weight, float) / maps[2], maps[0], axis=1)
    return share.reshape(len(weight), gpus, -1).sum(axis=2)


def duplicated(phy2log, gpus):
    """(layers,) whether an expert lies twice on a device."""
    held = np.sort(phy2log.reshape(len(phy2log), gpus, -1), axis=2)
    return (held[:, :, 1:] == held[:, :, :-1]).any(axis=(1, 2))


def check_maps(maps, experts, replicas):
    """Assert that the three maps describe one placement, in EPLB's shapes and padding."""
    phy2log, log2phy, logcnt = maps
    assert all(m.dtype == np.int64 for m in maps)
    assert phy2log.shape == (len(phy2log), replicas)
    assert log2phy.shape == (len(phy2log), experts, logcnt.max())
    for layer, row in enumerate(phy2log):
        assert np.bincount(row, minlength=experts).tolist() == logcnt[layer].tolist()
        for expert in range(experts):
            slots = log2phy[layer, expert]
            assert (row[slots[slots >= 0]] == expert).all()
            assert (slots >= 0).sum() == logcnt[layer, expert]
            assert (slots[logcnt[layer, expert] :] == -1).all()


@pytest.mark.parametrize("case", CASES)
def test_drop_in_for_every_call_engines_make(case):
    """EPLB's shapes and padding; all slots filled, none twice; never fuller than EPLB."""
    weight, replicas, _, _, gpus = case
    maps = rebalance_experts(*case)
    check_maps(maps, len(weight[0]), replicas)
    assert (maps[2] >= 1).all()
    assert not duplicated(maps[0], gpus).any()
    other = eplb_maps(weight, replicas, 1, 1, gpus)
    ours, theirs = (device_loads(weight, m, gpus).max(axis=1) for m in (maps, other))
    assert (duplicated(other[0], gpus) | (ours <= theirs * (1 + 1e-12))).all()


@pytest.mark.parametrize(
    ("workload", "replicas", "gpus"),
    [("prefill_in4096", 288, 32), ("prefill_in4096", 256, 32), ("decode_in2000out100", 288, 72)],
)
def test_measured_loads_beat_eplb_in_every_layer(workload, replicas, gpus):
    """On DeepSeek-V3's loads no layer is worse than EPLB's global policy or wastes a slot."""
    load = shipped_workload(f"deepseek-v3/{workload}").load
    maps = rebalance_experts(load, replicas, 1, 1, gpus)
    ours = device_loads(load, maps, gpus).max(axis=1)
    theirs = device_loads(load, eplb_maps(load, replicas, 1, 1, gpus), gpus).max(axis=1)
    assert not duplicated(maps[0], gpus).any()
    assert (ours <= theirs * (1 + 1e-12)).all()
    assert ours.sum() < theirs.sum() * 0.995


def test_no_duplicate_even_where_one_would_balance_better():
    """Three of four experts on each of two devices differ by 10 at least; EPLB repeats one."""
    weight = [[10, 20, 30, 40]]
    maps, other = rebalance_experts(weight, 6, 2, 1, 2), eplb_maps(weight, 6, 2, 1, 2)
    assert duplicated(other[0], 2).all()
    assert device_loads(weight, other, 2).max() == 50
    assert not duplicated(maps[0], 2).any()
    assert device_loads(weight, maps, 2).max() == 55


def test_more_slots_than_experts_on_a_device():
    """Duplicates cannot be avoided; every device then holds the same and balance is perfect."""
    maps = rebalance_experts([[9, 3, 1]], 16, 1, 1, 4)
    check_maps(maps, 3, 16)
    np.testing.assert_allclose(device_loads([[9, 3, 1]], maps, 4), 13 / 4)


class Tensor:
    """Something NumPy can read, as tensors of other libraries are."""

    def __init__(self, values):
        self.values = np.asarray(values, np.float32)

    def __array__(self, dtype=None, copy=None):
        return self.values.astype(dtype or np.float32)


def test_any_array_like_is_taken():
    """Lists, ints, float16, frozen arrays and foreign tensors give the same maps."""
    weight = np.array([[5, 1, 1, 9], [2, 2, 8, 1]])
    wanted = rebalance_experts(weight, 6, 1, 1, 2)[0]
    frozen = weight.astype(float)
    frozen.setflags(write=False)
    for other in (weight.tolist(), weight.astype(np.float16), frozen, Tensor(weight)):
        assert (rebalance_experts(other, 6, 1, 1, 2)[0] == wanted).all()


def test_huge_and_tiny_weights_keep_their_shares():
    """Only shares matter, also at the ends of the float64 range."""
    weight = np.array([[5.0, 1, 1, 9, 3, 3]])
    wanted = rebalance_experts(weight, 8, 1, 1, 4)[0]
    for factor in (1e300, 1e-300):
        assert (rebalance_experts(weight * factor, 8, 1, 1, 4)[0] == wanted).all()


@pytest.mark.parametrize(
    "arguments",
    [
        ([[1, 2, 3, 4]], 7, 2, 2, 4),
        ([[1, 2, 3, 4]], 2, 1, 1, 2),
        ([[1, 2, 3, 4]], 8, 0, 1, 4),
        ([[1, 2, 3, 4]], 8, 1, 1, -4),
        ([[1, 2, 3, -1]], 8, 1, 1, 4),
        ([[1, 2, 3, float("inf")]], 8, 1, 1, 4),
        ([[]], 8, 1, 1, 4),
        ([[1j, 2]], 2, 1, 1, 2),
        (None, 2, 1, 1, 2),
    ],
)
def test_bad_arguments_are_input_errors(arguments):
    """Nothing but an InputError comes out of bad arguments."""
    with pytest.raises(InputError):
        rebalance_experts(*arguments)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.data())
def test_laws_on_random_loads(data):
    """Exact slots, no duplicates, and never fuller than EPLB where EPLB wastes no slot."""
    gpus = data.draw(st.integers(1, 6))
    experts = data.draw(st.integers(1, 12))
    fewest = -(-experts // gpus)
    slots = data.draw(st.integers(fewest, max(fewest, min(experts, fewest + 3))))
    values = st.one_of(st.integers(0, 9), st.floats(0, 1e6, allow_subnormal=False))
    weight = np.array([data.draw(st.lists(values, min_size=experts, max_size=experts))], float)
    maps = rebalance_experts(weight, slots * gpus, 1, 1, gpus)
    check_maps(maps, experts, slots * gpus)
    assert not duplicated(maps[0], gpus).any()
    other = eplb_maps(weight, slots * gpus, 1, 1, gpus)
    if not duplicated(other[0], gpus).any():
        ours, theirs = (device_loads(weight, m, gpus).max() for m in (maps, other))
        assert ours <= theirs * (1 + 1e-9)
