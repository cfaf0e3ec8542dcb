from __future__ import annotations

import json
import shlex

import numpy as np
import pytest

from moeplace.errors import CheckFailedError, InputError
from moeplace.placement.formats import export_placement, read_placement
from moeplace.placement.placement import Placement

# Two devices, eight experts, two redundant; what the engine derives from it is checked below.
DEVICES = [[7, 2, 0, 3, 5], [6, 1, 4, 7, 2]]


def expert_map(devices, **changes):
    return {
        "moe_layer_count": 1,
        "layer_list": [
            {
                "layer_id": 0,
                "device_count": len(devices),
                "device_list": [
                    {"device_id": device, "device_expert": experts}
                    for device, experts in enumerate(devices)
                ],
            }
        ],
        **changes,
    }


@pytest.fixture
def one_layer(make_model):
    """Return a model with one MoE layer, number 3."""
    return make_model(4, (3,), 8)


@pytest.fixture
def example(tmp_path, one_layer):
    """Return the example file and what is read from it."""
    path = tmp_path / "expert_map.json"
    path.write_text(json.dumps(expert_map(DEVICES)))
    return path, read_placement(path, model=one_layer)


def test_example_is_read(example):
    """Slots are in file order, ranks are devices, the layer gets its absolute id."""
    _, placement = example
    assert placement.expert_of_slot.tolist() == [[7, 2, 0, 3, 5, 6, 1, 4, 7, 2]]
    assert placement.rank_of_slot.tolist() == [0] * 5 + [1] * 5
    assert (placement.num_ranks, placement.num_experts, placement.layer_ids) == (2, 8, (3,))


def test_example_local_slots(example):
    """The local slot of every expert on each device is what the engine's own test expects."""
    _, placement = example
    local = []
    for rank in range(2):
        expert_on = placement.expert_of_slot[0, placement.rank_of_slot == rank].tolist()
        local.append([expert_on.index(e) if e in expert_on else -1 for e in range(8)])
    assert local == [[2, -1, 1, 3, -1, 4, -1, 0], [-1, 1, 4, -1, 2, -1, 0, 3]]


def test_example_replica_of_rank_1(example):
    """Slot ids and the replica rank 1 takes (rank modulo replicas) are the engine's."""
    _, placement = example
    slots = [np.flatnonzero(placement.expert_of_slot[0] == e).tolist() for e in range(8)]
    assert [mine[1 % len(mine)] for mine in slots] == [2, 6, 9, 3, 7, 4, 5, 8]


def test_example_is_written_with_exact_keys(example, one_layer, tmp_path):
    """Writing the placement gives the same content, key for key."""
    path = tmp_path / "again.json"
    export_placement(example[1], path, "vllm-ascend", model=one_layer)
    assert json.loads(path.read_text()) == expert_map(DEVICES)


def test_layer_id_is_the_ordinal(tmp_path, make_placement, model):
    """Layers 1, 2 and 4 of the model are written as 0, 1 and 2."""
    path = tmp_path / "m.json"
    export_placement(make_placement(), path, "vllm-ascend", model=model)
    data = json.loads(path.read_text())
    assert data["moe_layer_count"] == 3
    assert [layer["layer_id"] for layer in data["layer_list"]] == [0, 1, 2]


def test_repeated_expert_is_not_written(tmp_path, one_layer):
    """An expert twice on a device is refused: the engine would lose one of the two slots."""
    placement = Placement(
        np.array([[0, 1, 2, 3, 3, 4, 5, 6, 7, 0]]), np.repeat([0, 1], 5), 8, 2, (3,)
    )
    with pytest.raises(CheckFailedError, match="no-duplicates: expert 3 lies twice on rank 0"):
        export_placement(placement, tmp_path / "m.json", "vllm-ascend", model=one_layer)
    assert not any(tmp_path.iterdir())


def test_unequal_devices_are_not_written(tmp_path, one_layer):
    """Devices with four and five slots are refused where filling is off."""
    placement = Placement(
        np.array([[0, 1, 2, 3, 3, 4, 5, 6, 7]]), np.array([0] * 4 + [1] * 5), 8, 2, (3,)
    )
    with pytest.raises(CheckFailedError, match=r"equal-slots: rank 0 has 4 .* rank 1 has 5"):
        export_placement(placement, tmp_path / "m.json", "vllm-ascend", model=one_layer, fill=False)
    assert not any(tmp_path.iterdir())


def test_path_must_end_in_json(tmp_path, one_layer, example):
    """The engine accepts paths that end in .json only."""
    with pytest.raises(InputError, match=r"suffix: the name must end in \.json"):
        export_placement(example[1], tmp_path / "map", "vllm-ascend", model=one_layer)


def change_device(data, device, value):
    data["layer_list"][0]["device_list"][device]["device_expert"] = value


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: change_device(d, 1, [6, 1, 4, 7]), "4 experts, but entry 0 has 5"),
        (lambda d: change_device(d, 1, [6, 1, 4, 7, 7]), "expert 7 is there twice"),
        (lambda d: change_device(d, 0, []), "holds no expert"),
        (lambda d: change_device(d, 0, [7, 2, 0, 3, 9]), "slot 4: expert 9 is out of range"),
        (lambda d: d.update(moe_layer_count=2), "1 entries, expected 2"),
        (lambda d: d.update(num_experts=8), "unknown key 'num_experts'"),
        (lambda d: d["layer_list"][0].update(layer_id=3), "3 at list position 0"),
        (lambda d: d["layer_list"][0].update(device_count=3), "2 entries, expected 3"),
        (lambda d: d["layer_list"][0].pop("device_count"), "'device_count' is missing"),
        (lambda d: d["layer_list"][0]["device_list"].reverse(), "1 at list position 0"),
    ],
)
def test_wrong_files(tmp_path, one_layer, change, message):
    """Every trap of this format is found on reading and named by layer and device."""
    data = expert_map([list(row) for row in DEVICES])
    change(data)
    path = tmp_path / "m.json"
    path.write_text(json.dumps(data))
    with pytest.raises(InputError, match=message):
        read_placement(path, "vllm-ascend", model=one_layer)


def test_layers_of_different_width_are_refused(tmp_path, make_model):
    """One number of redundant experts holds for all layers of the engine."""
    data = expert_map(DEVICES, moe_layer_count=2)
    second = expert_map([[0, 1, 2, 3], [4, 5, 6, 7]])["layer_list"][0]
    data["layer_list"].append({**second, "layer_id": 1})
    path = tmp_path / "m.json"
    path.write_text(json.dumps(data))
    with pytest.raises(InputError, match="entry 1: 2 devices with 4 experts"):
        read_placement(path, model=make_model(4, (2, 3), 8))


def test_flags(tmp_path, one_layer, example):
    """The additional configuration names the map and the redundant experts."""
    report = export_placement(example[1], tmp_path / "m.json", "vllm-ascend", model=one_layer)
    words = shlex.split(" ".join(report.flags))
    assert words[:2] == ["--enable-expert-parallel", "--additional-config"]
    assert json.loads(words[2]) == {
        "eplb_config": {"expert_map_path": str(tmp_path / "m.json"), "num_redundant_experts": 2}
    }
