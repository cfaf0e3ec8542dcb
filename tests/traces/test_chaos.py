from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from moeplace.errors import InputError
from moeplace.traces import Workload, load_trace
from moeplace.traces.importers import chaos

TREE = Path(__file__).parent / "fixtures" / "chaos" / "tiny-moe"
BIRD = TREE / "quiz" / "birds" / "2.json"


@pytest.fixture
def changed(tmp_path):
    """Return a writer of a changed copy of a query."""

    def write(change):
        steps = json.loads(BIRD.read_text())
        steps = change(steps) or steps
        path = tmp_path / "subject" / "7.json"
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(steps))
        return path

    return write


def test_tree_becomes_one_trace():
    """Requests in the order of folders and numbers, prefill then decode, domains by folder."""
    trace = load_trace(TREE, num_experts=6)
    assert trace.expert_ids.shape == (11, 2, 2)
    assert trace.layer_ids == (1, 2)
    assert trace.request.tolist() == [0] * 5 + [1] * 2 + [2] * 4
    assert trace.position.tolist() == [0, 1, 2, 3, 4, 0, 1, 0, 1, 2, 3]
    assert trace.phase.tolist() == [0, 0, 0, 1, 1, 0, 1, 0, 0, 0, 0]
    assert trace.domains == ("quiz/birds", "quiz/rivers")
    assert trace.domain.tolist() == [0] * 7 + [1] * 4
    assert trace.expert_ids[0].tolist() == [[0, 3], [5, 1]]
    assert trace.expert_ids[4].tolist() == [[0, 1], [2, 5]]
    files = ["quiz/birds/2.json", "quiz/birds/10.json", "quiz/rivers/0.json"]
    assert trace.meta["request_files"] == files


def test_single_file_takes_its_folder_as_domain():
    """One query is a trace of one request."""
    trace = load_trace(BIRD, num_experts=6)
    assert trace.domains == ("birds",)
    assert trace.num_tokens == 5
    assert trace.name == "2"


def test_short_prefills_are_counted():
    """Prefills of one or two recorded tokens are counted and explained, not hidden."""
    trace = load_trace(TREE, num_experts=6)
    assert trace.meta["short_prefill_requests"] == 1
    assert trace.meta["warnings"] == [
        "1 of 3 requests record at most 2 prompt tokens, "
        "likely because the rest was in the prefix cache"
    ]


def test_number_of_experts_is_guessed_and_said():
    """Without num_experts the largest id decides, and the metadata say so."""
    trace = load_trace(TREE)
    assert trace.num_experts == 6
    assert trace.meta["num_experts_from"] == "largest id seen + 1"
    assert "largest id + 1" in trace.meta["warnings"][1]
    assert load_trace(TREE, num_experts=8).meta["num_experts_from"] == "given"


def test_an_expert_with_nearly_every_token_is_flagged(tmp_path):
    """A top-1 layer that sends all to one expert gets a warning with its layer id."""
    file = tmp_path / "s" / "0.json"
    file.parent.mkdir()
    file.write_text(json.dumps([{"45": [[40]] * 30}] + [{"45": [[40]]}] * 5))
    warnings = load_trace(file, num_experts=128).meta["warnings"]
    assert warnings == [
        "layer 45 sends 100.0% of the tokens to expert 40: check it before drawing conclusions"
    ]


def test_loads_of_the_tree():
    """Counts of the fixture, made by hand."""
    load = Workload.from_trace(load_trace(TREE, num_experts=6), phase="decode").load
    assert load.tolist() == [[1, 1, 1, 2, 1, 0], [1, 1, 1, 0, 1, 2]]


def _decode_two_rows(steps):
    steps[1]["2"] = [[5, 0], [1, 2]]


def _lost_layer(steps):
    del steps[2]["1"]


def _uneven_prefill(steps):
    steps[0]["2"].pop()


def _short_row(steps):
    steps[0]["2"][1] = [1]


def _text_id(steps):
    steps[0]["2"][1] = ["1", "2"]


def _large_id(steps):
    steps[1]["2"] = [[6, 0]]


def _negative_id(steps):
    steps[1]["2"] = [[-1, 0]]


def _odd_key(steps):
    steps[0]["norm"] = [[1, 2]]


def _all_null(steps):
    return [dict.fromkeys(step) for step in steps]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_decode_two_rows, "step 1, layer 2: one row"),
        (_lost_layer, "step 2, layer 1"),
        (_uneven_prefill, "layer 2 has 2 prefill rows, layer 1 3"),
        (_short_row, "different numbers of experts"),
        (_text_id, "whole numbers expected"),
        (_large_id, r"expert 6 of token 3, layer 2"),
        (_negative_id, "negative expert ids"),
        (_odd_key, "key 'norm'"),
        (_all_null, "every layer of the prefill is null"),
        (lambda steps: [1, 2], "list of prefill and decode steps"),
        (lambda steps: [{"1": []}], "no token is recorded"),
    ],
)
def test_malformed_files_are_named(changed, change, message):
    """Whatever is wrong, the message is one line with the file and the place."""
    path = changed(change)
    with pytest.raises(InputError, match=message) as caught:
        load_trace(path, "chaos", num_experts=6)
    assert "7.json" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_files_of_two_models_are_refused(tmp_path):
    """A tree that mixes models is refused with both files."""
    shutil.copytree(TREE, tmp_path / "tree")
    (tmp_path / "tree" / "quiz" / "rivers" / "1.json").write_text('[{"3": [[1]]}]')
    with pytest.raises(InputError, match=r"1\.json.*2\.json.*different models"):
        load_trace(tmp_path / "tree", num_experts=6)


def test_truncated_file_in_a_tree_is_named(tmp_path):
    """One cut file in a tree is found and named."""
    shutil.copytree(TREE, tmp_path / "tree")
    cut = tmp_path / "tree" / "quiz" / "rivers" / "0.json"
    cut.write_text(cut.read_text()[:-20])
    with pytest.raises(InputError, match=r"rivers/0\.json: not valid JSON"):
        load_trace(tmp_path / "tree", num_experts=6)


def mutated(rng, text):
    """Change, insert or delete a byte at one or two places."""
    raw = bytearray(text)
    for _ in range(rng.integers(1, 3)):
        at = int(rng.integers(len(raw)))
        byte = int(rng.choice(np.frombuffer(b' \n0159,:[]{}"n\x00', np.uint8)))
        if rng.random() < 0.5:
            raw[at] = byte
        elif rng.random() < 0.5:
            raw.insert(at, byte)
        else:
            del raw[at]
    return bytes(raw)


@pytest.mark.parametrize("indent", [4, None])
def test_the_compiled_reader_takes_nothing_that_json_refuses(tmp_path, indent):
    """Damaged files: what it reads is what json reads; what json refuses it leaves alone."""
    rng = np.random.default_rng(3)
    steps = []
    for rows in (3, 1, 1, 1, 1):
        ids = [[rng.permutation(140)[:2].tolist() for _ in range(rows)] for _ in range(3)]
        steps.append({"0": None, "1": ids[0], "7": ids[1], "12": ids[2]})
    text = json.dumps(steps, indent=indent).encode()
    path, space, read = tmp_path / "1.json", chaos._Space(), 0
    for _ in range(400):
        path.write_bytes(mutated(rng, text))
        found = chaos._read_regular(path, 140, space)
        if found is not None:
            read += 1
            expected = chaos._read_any(path, 140)
            np.testing.assert_array_equal(found[0], expected[0])
            assert found[1:] == expected[1:]
    assert 40 < read < 360


def test_no_step_takes_the_slow_way(tmp_path, monkeypatch):
    """Files of the data set's form are read by the compiled reader, gaps or not."""
    monkeypatch.setattr(chaos, "_read_any", None)
    ids = [[[n % 9, 9 + n % 500] for n in range(m, m + 40)] for m in (0, 4)]
    steps = [{"3": ids[0], "5": ids[1]}, *({"3": [[n, 1000]], "5": [[10, n]]} for n in range(9))]
    path = tmp_path / "s" / "1.json"
    path.parent.mkdir()
    steps[4]["5"] = [[1, 4000]]
    for indent in (1, 4, None):
        path.write_text(json.dumps(steps, indent=indent))
        trace = load_trace(path, num_experts=5000)
        later = [[[s["3"][0], s["5"][0]]] for s in steps[1:]]
        np.testing.assert_array_equal(trace.expert_ids[40:], np.array(later)[:, 0])
        np.testing.assert_array_equal(trace.expert_ids[:40], np.array(ids).transpose(1, 0, 2))
