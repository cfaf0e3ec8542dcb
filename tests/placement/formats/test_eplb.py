from __future__ import annotations

import numpy as np
import pytest

from moeplace.errors import CheckFailedError, InputError
from moeplace.placement.formats import (
    export_placement,
    from_phy2log,
    pad_slots,
    read_placement,
    to_eplb,
)
from moeplace.placement.placement import Placement

# The example of EPLB's README: 12 experts, 16 replicas, 8 GPUs.
PHY2LOG = [
    [5, 6, 5, 7, 8, 4, 3, 4, 10, 9, 10, 2, 0, 1, 11, 1],
    [7, 10, 6, 8, 6, 11, 8, 9, 2, 4, 5, 1, 5, 0, 3, 1],
]
LOGCNT = [[1, 2, 1, 1, 2, 2, 1, 1, 1, 1, 2, 1], [1, 2, 1, 1, 1, 2, 2, 1, 2, 1, 1, 1]]
POSITIONS_0 = [{12}, {15, 13}, {11}, {6}, {7, 5}, {0, 2}, {1}, {3}, {4}, {9}, {8, 10}, {14}]


def test_readme_example():
    """Every expert's positions and counts are the ones of the README."""
    phy2log, log2phy, logcnt = to_eplb(from_phy2log(PHY2LOG, 8, 12))
    assert phy2log.tolist() == PHY2LOG
    assert logcnt.tolist() == LOGCNT
    assert log2phy.shape == (2, 12, 2)
    assert [set(row[row >= 0].tolist()) for row in log2phy[0]] == POSITIONS_0
    assert {array.dtype for array in (phy2log, log2phy, logcnt)} == {np.dtype(np.int64)}


def test_log2phy_lists_every_position_and_pads_with_minus_one():
    """log2phy[layer, e, :logcnt] are the slots with e, the rest is −1."""
    _, log2phy, logcnt = to_eplb(from_phy2log(PHY2LOG, 8, 12))
    for layer, row in enumerate(PHY2LOG):
        for expert in range(12):
            count = logcnt[layer, expert]
            assert log2phy[layer, expert, :count].tolist() == [
                slot for slot, found in enumerate(row) if found == expert
            ]
            assert (log2phy[layer, expert, count:] == -1).all()


def test_empty_slots_are_skipped():
    """Slots with −1 belong to no expert, as in vLLM's compute_logical_maps."""
    _, log2phy, logcnt = to_eplb(from_phy2log([[0, 1, -1, 2, 3, -1]], 2, 4))
    assert log2phy.tolist() == [[[0], [1], [3], [4]]]
    assert logcnt.tolist() == [[1, 1, 1, 1]]


def test_rank_of_a_slot():
    """Slot s is on rank s // (slots / ranks)."""
    placement = from_phy2log(PHY2LOG, 8, 12, layer_ids=(3, 4))
    assert placement.rank_of_slot.tolist() == [slot // 2 for slot in range(16)]
    assert placement.layer_ids == (3, 4)


def test_slots_must_divide():
    """16 slots cannot be shared by 5 ranks."""
    with pytest.raises(InputError, match="16 slots a layer cannot be shared equally by 5 ranks"):
        from_phy2log(PHY2LOG, 5, 12)


def test_unequal_ranks(tmp_path):
    """Unequal ranks are refused as arrays and padded with −1 on export."""
    placement = Placement(np.array([[0, 1, 2, 3, 0]]), np.array([0, 0, 1, 1, 1]), 4, 2)
    with pytest.raises(InputError, match="same number of slots"):
        to_eplb(placement)
    with pytest.raises(CheckFailedError, match="equal-slots"):
        export_placement(placement, tmp_path / "e.npz", "eplb", fill=False)
    report = export_placement(placement, tmp_path / "e.npz", "eplb")
    back = read_placement(tmp_path / "e.npz", num_ranks=2)
    assert report.filled_slots == 0
    assert back.expert_of_slot.tolist() == [[0, 1, -1, 2, 3, 0]]
    assert np.array_equal(back.expert_of_slot, pad_slots(placement).expert_of_slot)


def test_creation_order_of_replicas_is_accepted(tmp_path):
    """EPLB lists replicas in the order in which it made them, and engines pad wider."""
    phy2log, log2phy, logcnt = to_eplb(from_phy2log(PHY2LOG, 8, 12))
    wide = np.full((2, 12, 5), -1)
    wide[:, :, :2] = log2phy
    wide[0, 1, :2] = [15, 13]
    np.savez(tmp_path / "e.npz", phy2log=phy2log, log2phy=wide, logcnt=logcnt)
    assert read_placement(tmp_path / "e.npz", num_ranks=8).expert_of_slot.tolist() == PHY2LOG


@pytest.mark.parametrize(
    ("array", "place", "value", "message"),
    [
        ("log2phy", (0, 3, 0), 7, "log2phy of expert 3 in row 0"),
        ("logcnt", (1, 4), 2, "logcnt says 2 replicas of expert 4 in row 1, phy2log has 1"),
        ("phy2log", (1, 4), 12, "expert 12 in row 1, slot 4 is out of range"),
    ],
)
def test_contradicting_arrays_are_refused(tmp_path, array, place, value, message):
    """The three arrays must tell the same."""
    names = ("phy2log", "log2phy", "logcnt")
    arrays = dict(zip(names, to_eplb(from_phy2log(PHY2LOG, 8, 12)), strict=True))
    arrays[array][place] = value
    np.savez(tmp_path / "e.npz", **arrays)
    with pytest.raises(InputError, match=message):
        read_placement(tmp_path / "e.npz", num_ranks=8)


def test_missing_array(tmp_path):
    """A file with only phy2log is named as incomplete."""
    np.savez(tmp_path / "e.npz", phy2log=np.array(PHY2LOG))
    with pytest.raises(InputError, match="'log2phy' is missing"):
        read_placement(tmp_path / "e.npz", num_ranks=8)
