"""The benchmarks of balance compare with the right things."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.eplb_reference import eplb_reference
from benchmarks.movement import drifted
from benchmarks.movement import report as movement
from moeplace.formulations.heuristics.balance import max_rank_load
from moeplace.formulations.heuristics.eplb import eplb_maps
from moeplace.formulations.heuristics.eplb_kernels import eplb_layer, fullest

CALLS = [(256, 8, 4, 32), (288, 8, 4, 32), (288, 8, 9, 72), (320, 1, 1, 64)]


@pytest.mark.parametrize("call", CALLS)
def test_reference_loops_balance_as_eplb_does(call: tuple[int, int, int, int]) -> None:
    """The loops fill every slot and their devices are exactly as full as EPLB's."""
    load = np.random.default_rng(2).lognormal(size=(3, 256))
    loops = eplb_reference(load, *call)
    known = eplb_maps(load, *call)[0]
    assert loops.shape == known.shape
    assert (np.sort(loops, axis=1) == np.sort(known, axis=1)).all()
    found = [max_rank_load(load, maps.astype(np.int32), call[3]) for maps in (loops, known)]
    np.testing.assert_allclose(found[0], found[1], rtol=1e-12)


@pytest.mark.parametrize(("slots", "top"), [(8, 3), (9, 50), (10, 1000)])
def test_compiled_policy_is_eplbs(slots: int, top: int) -> None:
    """The compiled global policy gives EPLB's map, ties included, and knows its fullest device."""
    load = np.random.default_rng(slots).integers(0, top, size=(4, 64)).astype(float)
    known = eplb_maps(load, 8 * slots, 1, 1, 8)[0]
    table = np.empty((8, slots), np.int32)
    for layer in range(4):
        eplb_layer(load[layer].astype(np.float32), table)
        assert table.ravel().tolist() == known[layer].tolist()
        twice = any(np.unique(row).size < slots for row in table)
        value = max_rank_load(load[layer : layer + 1], table.reshape(1, -1), 8)[0]
        assert fullest(load[layer], table) == (np.inf if twice else pytest.approx(value))


def test_movement_case_prints_a_table() -> None:
    """More moves are better, and every value lies between the start and a map from scratch."""
    shown = movement(quick=True)
    rows = [line.split("|")[2:-1] for line in shown.splitlines() if line.startswith("| seed")]
    assert len(rows) == 2
    for row in rows:
        values = [float(cell) for cell in row]
        assert values[0] > values[1] >= values[2] >= values[3] - 1e-3


def test_drift_is_the_seeds() -> None:
    """Loads are in mean rank loads and follow from the seed."""
    load, table = drifted(3)
    assert load.sum() == pytest.approx(32)
    assert (drifted(3)[1] == table).all()
    assert (drifted(4)[1] != table).any()
