from __future__ import annotations

import json
import shlex

import pytest

from moeplace.errors import InputError
from moeplace.placement.formats import export_placement, read_placement


@pytest.fixture
def two_layers(make_model):
    """Return a model with two MoE layers of three experts."""
    return make_model(4, (1, 3), 3)


def test_deepseek_v3_has_58_rows(tmp_path, make_placement, deepseek_v3):
    """Only MoE layers count for vLLM, unlike for SGLang."""
    placement = make_placement(
        0, ranks=8, slots_per_rank=32, experts=256, layer_ids=deepseek_v3.moe_layers
    )
    export_placement(placement, tmp_path / "m.json", "vllm-list", model=deepseek_v3)
    assert json.loads((tmp_path / "m.json").read_text()) == placement.expert_of_slot.tolist()
    export_placement(placement, tmp_path / "m.jsonl", "vllm-jsonl", model=deepseek_v3)
    record = json.loads((tmp_path / "m.jsonl").read_text())
    assert list(record["initial_global_assignments"]) == [str(layer) for layer in range(58)]


def test_61_rows_are_refused(tmp_path, deepseek_v3):
    """A table for SGLang is not taken for one of vLLM."""
    (tmp_path / "m.json").write_text(json.dumps([list(range(256))] * 61))
    with pytest.raises(InputError, match="61 layers, but this model has 58 MoE layers"):
        read_placement(tmp_path / "m.json", model=deepseek_v3, num_ranks=8)


def test_flat_list_stands_for_all_layers(tmp_path, two_layers):
    """The pull request accepts one list for all MoE layers."""
    (tmp_path / "m.json").write_text("[0, 1, 2, 0]")
    back = read_placement(tmp_path / "m.json", model=two_layers, num_ranks=2)
    assert back.expert_of_slot.tolist() == [[0, 1, 2, 0]] * 2
    with pytest.raises(InputError, match="give the model"):
        read_placement(tmp_path / "m.json", num_ranks=2)


RECORD = {
    "record_type": "eplb_initial_mapping",
    "version": 1,
    "num_redundant_experts": 1,
    "num_slots": 4,
    "initial_global_assignments": {"0": [0, 1, 2, 0], "1": [1, 2, 0, 1]},
}


def test_jsonl_example(tmp_path, two_layers):
    """The example of the pull request is read and written back key for key, on one line."""
    source, copy = tmp_path / "a.jsonl", tmp_path / "b.jsonl"
    source.write_text(json.dumps(RECORD))
    placement = read_placement(source, model=two_layers, num_ranks=2)
    assert placement.expert_of_slot.tolist() == [[0, 1, 2, 0], [1, 2, 0, 1]]
    assert placement.layer_ids == (1, 3)
    export_placement(placement, copy, "vllm-jsonl", model=two_layers)
    assert copy.read_text().count("\n") == 1
    assert json.loads(copy.read_text()) == RECORD


def test_jsonl_passes_over_other_records(tmp_path, two_layers):
    """Session metadata before the map does no harm; a file without a map is refused."""
    path = tmp_path / "a.jsonl"
    path.write_text('{"record_type": "session_metadata"}\n\n' + json.dumps(RECORD) + "\n")
    assert read_placement(path, model=two_layers, num_ranks=2).num_slots == 4
    path.write_text('{"record_type": "session_metadata"}\n')
    with pytest.raises(InputError, match="0 records of type 'eplb_initial_mapping'"):
        read_placement(path, model=two_layers, num_ranks=2)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"version": 2}, "version 2, expected 1"),
        ({"num_redundant_experts": 2}, "num_redundant_experts is 2"),
        ({"num_slots": 5}, "num_slots is 5"),
        ({"extra": 0}, "unknown key 'extra'"),
        ({"initial_global_assignments": {"3": [0, 1, 2, 0]}}, "'0' is missing"),
        ({"initial_global_assignments": {"0": [0, 1, 3, 0]}}, "layer 0, slot 2: expert 3"),
        ({"initial_global_assignments": {"0": [0, 1, 2, 0]}}, "1 layers, but this model has 2"),
    ],
)
def test_jsonl_wrong_records(tmp_path, two_layers, changes, message):
    """Absolute layer ids, other versions and contradicting counts are refused by name."""
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps({**RECORD, **changes}))
    with pytest.raises(InputError, match=message):
        read_placement(path, model=two_layers, num_ranks=2)


@pytest.mark.parametrize(
    ("engine", "suffix", "config"),
    [
        ("vllm-list", ".json", {"initial_expert_map_path": "{path}"}),
        (
            "vllm-jsonl",
            ".jsonl",
            {"initial_mapping_path": "{path}", "disable_online_rebalancing": True},
        ),
    ],
)
def test_flags(tmp_path, make_placement, model, engine, suffix, config):
    """The flags name the redundant experts of the file, and the note says experimental."""
    path = tmp_path / f"m{suffix}"
    report = export_placement(make_placement(), path, engine, model=model)
    words = shlex.split(" ".join(report.flags))
    assert words[:3] == ["--enable-expert-parallel", "--enable-eplb", "--eplb-config"]
    expected = {"num_redundant_experts": 4, **config}
    assert json.loads(words[3]) == {
        key: str(path) if value == "{path}" else value for key, value in expected.items()
    }
    assert report.notes[0].startswith("experimental")
