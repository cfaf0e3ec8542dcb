from __future__ import annotations

import json
import re

import pytest
import yaml

from moeplace.errors import InputError
from moeplace.placement.formats import export_placement, format_violations, read_placement


@pytest.fixture
def map_file(tmp_path, make_placement, model):
    """Return a written map of the small model."""
    path = tmp_path / "balancer.yaml"
    placement = make_placement(2)
    return path, placement, export_placement(placement, path, "tensorrt-llm", model=model)


def test_exactly_three_keys(map_file):
    """The engine's class forbids every other key, ep_size among them."""
    data = yaml.safe_load(map_file[0].read_text())
    assert list(data) == ["initial_global_assignments", "num_slots", "layer_updates_per_iter"]
    assert data["num_slots"] == 12
    assert data["layer_updates_per_iter"] == 0


def test_absolute_layer_ids_as_integers(map_file):
    """Keys are the MoE layers 1, 2 and 4 of the model, not 0, 1 and 2, and not strings."""
    path, placement, _ = map_file
    layers = yaml.safe_load(path.read_text())["initial_global_assignments"]
    assert list(layers) == [1, 2, 4]
    assert [layers[layer] for layer in (1, 2, 4)] == placement.expert_of_slot.tolist()


def test_deepseek_v3_has_layers_3_to_60(tmp_path, make_placement, deepseek_v3):
    """The three dense layers have no key."""
    placement = make_placement(
        0, ranks=8, slots_per_rank=32, experts=256, layer_ids=deepseek_v3.moe_layers
    )
    path = tmp_path / "b.yaml"
    export_placement(placement.replace(layer_ids=None), path, "tensorrt-llm", model=deepseek_v3)
    keys = re.findall(r"^  (\d+): ", path.read_text(), re.MULTILINE)
    assert keys == [str(layer) for layer in range(3, 61)]


def test_flow_style(map_file):
    """Every layer is one line in brackets."""
    lines = map_file[0].read_text().splitlines()
    assert len(lines) == 6
    assert all(re.fullmatch(r"  \d: \[(\d, ){11}\d\]", line) for line in lines[1:4])


def edit(path, change):
    data = yaml.safe_load(path.read_text())
    change(data)
    path.write_text(yaml.safe_dump(data))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d.update(ep_size=4), "unknown key 'ep_size'"),
        (lambda d: d.update(num_slots=16), "12 slots, but num_slots is 16"),
        (lambda d: d.pop("num_slots"), "key 'num_slots' is missing"),
        (lambda d: d.pop("initial_global_assignments"), "'initial_global_assignments' is missing"),
        (lambda d: d.update(initial_global_assignments=None), "a map of layers is expected"),
        (lambda d: d["initial_global_assignments"][4].pop(), "layer 4: 11 slots"),
        (lambda d: d["initial_global_assignments"].update({"3": []}), "a layer key"),
        (lambda d: d["initial_global_assignments"].update({61: [0]}), "layer 61 does not exist"),
    ],
)
def test_wrong_files(map_file, model, change, message):
    """Every mistake is named by key or layer."""
    edit(map_file[0], change)
    with pytest.raises(InputError, match=message):
        read_placement(map_file[0], "tensorrt-llm", model=model, num_ranks=4)


def test_layer_given_twice_is_refused(map_file, model):
    """PyYAML would keep the last of two rows for a layer without a word."""
    path = map_file[0]
    path.write_text(path.read_text().replace("  2: [", "  1: ["))
    with pytest.raises(InputError, match="key 1 is given twice"):
        read_placement(path, model=model, num_ranks=4)


def test_no_python_objects(tmp_path, model):
    """A tag that would build an object is refused."""
    path = tmp_path / "b.yaml"
    path.write_text("initial_global_assignments: !!python/object/apply:os.getcwd []\n")
    with pytest.raises(InputError, match="not valid YAML at line 1"):
        read_placement(path, model=model, num_ranks=4)


def test_missing_layer_is_reported(map_file, model):
    """A file without one of the MoE layers can be read, and the check names the layer."""
    edit(map_file[0], lambda data: data["initial_global_assignments"].pop(2))
    back = read_placement(map_file[0], model=model, num_ranks=4)
    assert back.layer_ids == (1, 4)
    assert format_violations(back, "tensorrt-llm", model) == ["layers: MoE layer 2 has no row"]


def test_usage(map_file):
    """The report tells the EP size and the configuration lines."""
    path, _, report = map_file
    assert "--ep_size 4" in report.flags
    line = next(note for note in report.notes if "load_balancer" in note)
    config = yaml.safe_load(line.split("there: ")[1])
    assert config == {"moe_config": {"backend": "WideEP", "load_balancer": str(path)}}
    assert json.dumps(str(path)) in line
