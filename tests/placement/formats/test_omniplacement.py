from __future__ import annotations

import numpy as np
import pytest

from moeplace.errors import CheckFailedError, InputError
from moeplace.placement.formats import export_placement, format_violations, read_placement
from moeplace.placement.formats.omniplacement import from_pattern, to_pattern
from moeplace.placement.placement import Placement


@pytest.fixture
def two_layers(make_model):
    """Return a model with two MoE layers of four experts."""
    return make_model(3, (1, 2), 4)


@pytest.fixture
def uneven():
    """Return two ranks with three slots; the second layer uses two of them."""
    table = np.array([[2, 0, 1, 3, 0, 2], [1, 3, -1, 0, 2, -1]])
    return Placement(table, np.repeat([0, 1], 3), 4, 2, (1, 2))


def test_pattern(tmp_path, uneven, two_layers):
    """The file is int32 0/1 (devices, MoE layers, experts)."""
    path = tmp_path / "p.npy"
    export_placement(uneven, path, "omniplacement", model=two_layers)
    pattern = np.load(path)
    assert pattern.dtype == np.int32
    assert pattern.tolist() == [[[1, 1, 1, 0], [0, 1, 0, 1]], [[1, 0, 1, 1], [1, 0, 1, 0]]]


def test_layers_may_differ(tmp_path, uneven, two_layers):
    """Three experts a device in one layer and two in the next need no filling and come back."""
    path = tmp_path / "p.npy"
    report = export_placement(uneven, path, "omniplacement", model=two_layers)
    back = read_placement(path, model=two_layers)
    assert report.filled_slots == 0
    assert np.array_equal(back.expert_of_slot, uneven.canonical().expert_of_slot)
    assert back.layer_ids == (1, 2)


def test_unequal_devices_of_a_layer(tmp_path, uneven, two_layers):
    """Two experts beside one are refused with filling off, and filled up to two, not three."""
    table = uneven.expert_of_slot.copy()
    table[1] = [1, 3, 2, 0, 2, -1]
    placement = uneven.replace(expert_of_slot=table)
    path = tmp_path / "p.npy"
    with pytest.raises(CheckFailedError, match="equal-experts: layer 2 has 2 to 3 experts"):
        export_placement(placement, path, "omniplacement", model=two_layers, fill=False)
    assert not path.exists()
    table[1] = [1, 3, -1, 0, 2, -1]
    table[0] = [2, 0, 1, 3, 0, -1]
    report = export_placement(
        uneven.replace(expert_of_slot=table), path, "omniplacement", model=two_layers
    )
    assert report.filled_slots == 1
    assert np.load(path).sum(axis=2).tolist() == [[3, 2], [3, 2]]


def test_expert_twice_on_a_device(tmp_path, uneven, two_layers):
    """A set cannot hold two copies."""
    table = uneven.expert_of_slot.copy()
    table[0] = [2, 0, 1, 3, 3, 2]
    with pytest.raises(CheckFailedError, match="no-duplicates: expert 3 lies twice on rank 1"):
        export_placement(
            uneven.replace(expert_of_slot=table),
            tmp_path / "p.npy",
            "omniplacement",
            model=two_layers,
        )


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        ((1, 1, 0), 0, "coverage: expert 0 has no slot in layer 2"),
        ((0, 1, 0), 1, "equal-experts: layer 2 has 2 to 3 experts on a rank"),
    ],
)
def test_broken_rules_of_a_file(tmp_path, uneven, two_layers, place, value, message):
    """A pattern that the engine would refuse can be read, and the rule is named."""
    pattern = to_pattern(uneven)
    pattern[place] = value
    np.save(tmp_path / "p.npy", pattern)
    back = read_placement(tmp_path / "p.npy", model=two_layers)
    assert np.array_equal(to_pattern(back), pattern)
    assert format_violations(back, "omniplacement", two_layers)[0] == message


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        (np.full((2, 2, 4), 2), "device 0, layer 0, expert 0: neither 0 nor 1"),
        (np.zeros((2, 2, 4), int), "no device holds an expert"),
        (np.ones((2, 2, 4)), "not float64 with shape"),
        (np.ones((2, 4), int), "not int64 with shape"),
        (np.ones((2, 3, 4), int), "3 layers, but this model has 2 MoE layers"),
        (np.ones((2, 2, 5), int), "5 experts a layer, the model has 4"),
    ],
)
def test_wrong_patterns(tmp_path, two_layers, pattern, message):
    """Arrays that are no pattern of the model are refused."""
    np.save(tmp_path / "p.npy", pattern)
    with pytest.raises(InputError, match=f"p.npy: .*{message}"):
        read_placement(tmp_path / "p.npy", model=two_layers)


def test_no_pickles(tmp_path, two_layers):
    """An array of Python objects is refused."""
    np.save(tmp_path / "p.npy", np.array([[[{}]]], object), allow_pickle=True)
    with pytest.raises(InputError, match="not a complete npy file"):
        read_placement(tmp_path / "p.npy", model=two_layers)


def test_real_patterns(shared_data, tmp_path, deepseek_v3):
    """Real DeepSeek-V3 patterns come back unchanged; the one that breaks a rule is found."""
    path, broken = tmp_path / "p.npy", []
    with np.load(shared_data / "omni_patterns.npz") as patterns:
        assert len(patterns.files) == 9
        for name in patterns.files:
            placement = from_pattern(patterns[name], deepseek_v3.moe_layers)
            assert np.array_equal(to_pattern(placement), patterns[name])
            broken += format_violations(placement, "omniplacement", deepseek_v3)
            if not format_violations(placement, "omniplacement", deepseek_v3):
                export_placement(placement, path, "omni", model=deepseek_v3, fill=False)
                assert np.array_equal(np.load(path), patterns[name])
    assert broken == ["equal-experts: layer 50 has 8 to 9 experts on a rank"]
