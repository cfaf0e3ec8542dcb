from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from moeplace.errors import InputError
from moeplace.traces import load_trace, load_workload

FILE = Path(__file__).parent / "fixtures" / "sglang_counts.json"


def test_steps_are_added_and_dense_rows_dropped():
    """A recorder dump of two steps and a dense row becomes the loads of the MoE layers."""
    workload = load_workload(FILE)
    assert workload.load.tolist() == [[0, 0, 0, 0], [8, 1, 1, 2], [1, 3, 6, 2]]
    assert "sum of 2 steps" in workload.source
    model = SimpleNamespace(name="m", num_experts=4, top_k=2, num_layers=3, moe_layers=(1, 2))
    bound = workload.bind(model)
    assert bound.layer_ids == (1, 2)
    assert bound.num_tokens == 6


def test_bare_table_is_read(tmp_path):
    """LMDeploy's bare table of counts is the same without the key."""
    path = tmp_path / "heat.json"
    path.write_text("[[1, 2],\n [3, 4.0]]")
    assert load_workload(path).load.tolist() == [[1, 2], [3, 4]]


def test_phase_and_name_are_taken(tmp_path):
    """Loads do not say their phase; the caller does."""
    workload = load_workload(FILE, phase="decode", name="night")
    assert (workload.phase, workload.name) == ("decode", "night")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"logical_count": [[1, 2], [3]]}, "rows of one length"),
        ({"logical_count": [1, 2]}, r"shape \(2,\)"),
        ({"logical_count": [["a"]]}, "table of numbers"),
        ({"logical_count": [[1, -2]]}, "load -2.0 of expert 1"),
        ({"logical_count": [[[1, 2]], [[1, float("nan")]]]}, "step 1, layer row 0, expert 1"),
        ({"logical_count": [[0, 0]]}, "every load is zero"),
        ({"logical_count": None}, r"shape \(\)"),
        ({"physical_count": [[1]]}, "no key 'logical_count'"),
    ],
)
def test_bad_counts_are_named(tmp_path, content, message):
    """Every fault is one line with the file."""
    path = tmp_path / "dump.json"
    path.write_text(json.dumps(content))
    with pytest.raises(InputError, match=message) as caught:
        load_workload(path, "sglang-counts")
    assert "dump.json" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_counts_are_no_trace():
    """Loads asked for as a trace are refused with the reason."""
    with pytest.raises(InputError, match="hold loads, not tokens"):
        load_trace(FILE)


def test_width_is_checked_when_known():
    """Counts of another model are noticed when the number of experts is known."""
    with pytest.raises(InputError, match="4 experts a layer, 256 expected"):
        load_workload(FILE, num_experts=256)
