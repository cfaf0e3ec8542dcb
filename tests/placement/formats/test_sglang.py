from __future__ import annotations

import json
import re

import numpy as np
import pytest

from moeplace.errors import CheckFailedError, InputError
from moeplace.placement.formats import export_placement, read_placement


@pytest.fixture
def map_file(tmp_path, make_placement, deepseek_v3):
    """Return a written map of DeepSeek-V3 on 32 ranks with 32 redundant experts."""
    placement = make_placement(
        1, ranks=32, slots_per_rank=9, experts=256, layer_ids=deepseek_v3.moe_layers
    )
    path = tmp_path / "location.json"
    export_placement(placement, path, "sglang", model=deepseek_v3)
    return path, placement


def test_exactly_one_key(map_file):
    """SGLang passes every key on as an argument, so a second one would stop it."""
    assert list(json.loads(map_file[0].read_text())) == ["physical_to_logical_map"]


def test_one_row_per_hidden_layer(map_file):
    """DeepSeek-V3 gives 61 rows; row 3 is its first MoE layer."""
    path, placement = map_file
    table = np.array(json.loads(path.read_text())["physical_to_logical_map"])
    assert table.shape == (61, 288)
    assert np.array_equal(table[3:], placement.expert_of_slot)


def test_dense_rows_name_every_expert(map_file):
    """Dense rows are arange(slots) % experts: no expert has zero replicas."""
    table = np.array(json.loads(map_file[0].read_text())["physical_to_logical_map"])
    for row in table[:3]:
        assert np.array_equal(row, np.arange(288) % 256)
        assert np.bincount(row, minlength=256).min() == 1


@pytest.mark.parametrize("bad", [0, -1])
def test_dense_row_without_an_expert_is_refused(map_file, deepseek_v3, bad):
    """A dense row of zeros or −1, which would divide by zero in SGLang, is named."""
    path, _ = map_file
    data = json.loads(path.read_text())
    data["physical_to_logical_map"][2] = [bad] * 288
    path.write_text(json.dumps(data))
    with pytest.raises(InputError, match="row 2"):
        read_placement(path, model=deepseek_v3, num_ranks=32)


def test_extra_key_is_refused(map_file, deepseek_v3):
    """A file with a second key is refused, as SGLang would."""
    path, _ = map_file
    data = json.loads(path.read_text())
    data["logical_to_all_physical_map"] = []
    path.write_text(json.dumps(data))
    with pytest.raises(InputError, match="unknown key 'logical_to_all_physical_map'"):
        read_placement(path, "sglang", model=deepseek_v3, num_ranks=32)


def test_moe_rows_alone_are_refused(map_file, deepseek_v3):
    """58 rows, as vLLM counts them, would shift every layer by three."""
    path, _ = map_file
    data = json.loads(path.read_text())
    data["physical_to_logical_map"] = data["physical_to_logical_map"][3:]
    path.write_text(json.dumps(data))
    with pytest.raises(InputError, match=r"58 rows.*61"):
        read_placement(path, model=deepseek_v3, num_ranks=32)


def test_slots_must_be_shared_equally(tmp_path, make_placement, model):
    """Ranks of unequal size are refused where filling is off, and named."""
    placement = make_placement().replace(
        rank_of_slot=np.array([0, 0, 0, 0, 1, 1, 2, 2, 2, 3, 3, 3])
    )
    with pytest.raises(CheckFailedError, match=r"equal-slots: rank 1 has 2 slots and rank 0 has 4"):
        export_placement(placement, tmp_path / "m.json", "sglang", model=model, fill=False)
    assert not any(tmp_path.iterdir())


def test_recorded_loads_are_told_apart(tmp_path, deepseek_v3):
    """A file of recorded loads is named as such: SGLang would accept it and compute a map."""
    path = tmp_path / "prefill.json"
    path.write_text(json.dumps({"logical_count": [[1] * 256] * 61}))
    with pytest.raises(InputError, match="recorded loads"):
        read_placement(path, model=deepseek_v3, num_ranks=32)
    with pytest.raises(InputError, match="recorded loads"):
        read_placement(path, "sglang", model=deepseek_v3, num_ranks=32)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (8, r"row 1, slot 5: expert 8 is out of range 0\.\.7"),
        (-1, r"row 1, slot 5: expert -1 is out of range"),
        (True, r"row 1, slot 5: an expert id is expected, not bool"),
        (2.0, r"row 1, slot 5: an expert id is expected, not float"),
        ("2", r"row 1, slot 5: an expert id is expected, not str"),
        (2**40, r"row 1, slot 5: expert 1099511627776 is out of range"),
    ],
)
def test_bad_id_is_named_by_row_and_slot(tmp_path, make_placement, model, value, message):
    """The message tells the file, the row and the slot."""
    path = tmp_path / "m.json"
    export_placement(make_placement(), path, "sglang", model=model)
    data = json.loads(path.read_text())
    data["physical_to_logical_map"][1][5] = value
    path.write_text(json.dumps(data))
    with pytest.raises(InputError, match=re.escape(str(path)) + ", " + message):
        read_placement(path, model=model, num_ranks=4)


def test_key_given_twice_is_refused(tmp_path, model):
    """Python's JSON reader would keep the last of two maps."""
    path = tmp_path / "m.json"
    path.write_text('{"physical_to_logical_map": [], "physical_to_logical_map": []}')
    with pytest.raises(InputError, match="given twice"):
        read_placement(path, "sglang", model=model, num_ranks=4)


def test_flags(tmp_path, make_placement, model):
    """The flags match the file: redundant experts are slots minus experts."""
    path = tmp_path / "a map.json"
    report = export_placement(make_placement(), path, "sglang", model=model)
    assert report.flags == [
        "--ep-size 4",
        "--ep-num-redundant-experts 4",
        f"--init-expert-location '{path}'",
    ]
    assert any("--moe-a2a-backend" in note for note in report.notes)
