"""`moeplace check`, `convert`, and `trace convert --to`."""

from __future__ import annotations

import json

import pytest

RANKS = ["--ranks", "4"]
MODEL = ["--model", "tiny.yaml"]


@pytest.fixture
def native(moeplace, problem, tiny):
    """Return a native placement of the small model with 4 redundant experts on 4 ranks."""
    done = moeplace("solve", *problem, "--redundant", 4, "--solver", "lpt", "-o", "p.json", "-q")
    assert done.exit_code == 0, done.output
    return tiny / "p.json"


SUFFIX = {
    "sglang": "s.json", "tensorrt-llm": "t.yaml", "vllm-ascend": "a.json", "omniplacement": "o.npy",
    "vllm-list": "v.json", "vllm-jsonl": "v.jsonl", "eplb": "e.npz",
}  # fmt: skip


def test_round_of_engines(moeplace, native, tiny):
    """Native to the first engine, from each to the next, checked there, and back: the same map."""

    def experts(path):
        placed = json.loads((tiny / path).read_text())
        table, ranks = placed["expert_of_slot"], placed["rank_of_slot"]
        rows = [list(zip(row, ranks, strict=True)) for row in table]
        return [[sorted(e for e, r in row if r == rank) for rank in range(4)] for row in rows]

    before, source = "p.json", []
    for engine, name in SUFFIX.items():
        done = moeplace("convert", before, name, "--to", engine, *source, *MODEL, *RANKS)
        assert done.exit_code == 0, done.output
        assert f"written for {engine}" in done.stderr
        assert not done.stdout
        done = moeplace("check", name, "--engine", engine, *MODEL, *RANKS)
        assert done.exit_code == 0, done.output
        before, source = name, ["--from", engine]
    done = moeplace("convert", before, "back.json", "--to", "native", *MODEL, *RANKS)
    assert done.exit_code == 0, done.output
    assert experts("back.json") == experts("p.json")


def test_flags_are_told(moeplace, native):
    """The server's flags go to stderr, quiet hides them."""
    done = moeplace("convert", "p.json", "s.json", "--to", "sglang", *MODEL)
    assert "--ep-size 4 --ep-num-redundant-experts 4 --init-expert-location s.json" in done.stderr
    assert not moeplace("convert", "p.json", "s.json", "--to", "sglang", *MODEL, "-q").stderr


def test_broken_rule_leaves_with_seven(moeplace, native, tiny):
    """Code 7, the rule and the engine's source in one line; all rules as JSON."""
    moeplace("convert", "p.json", "s.json", "--to", "sglang", *MODEL)
    data = json.loads((tiny / "s.json").read_text())
    (tiny / "s.json").write_text(json.dumps({**data, "logical_to_all_physical_map": []}))
    done = moeplace("check", "s.json", "-e", "sglang", *MODEL, *RANKS, "--format", "json")
    assert done.exit_code == 7
    document = json.loads(done.stdout)
    assert document["schema"] == "moeplace.check/1"
    assert not document["holds"]
    broken = [rule["rule"] for rule in document["rules"] if rule["holds"] is False]
    assert broken == ["keys"]
    assert "init_by_mapping" in done.stderr


def test_what_is_not_told_is_noted(moeplace, native):
    """Without model and ranks the file may pass, with a note on what was left out."""
    moeplace("convert", "p.json", "s.json", "--to", "sglang", *MODEL)
    done = moeplace("check", "s.json", "-e", "sglang")
    assert done.exit_code == 0
    assert "not reached" in done.stdout
    assert "--model and --ranks" in done.stderr


def test_unreadable_file_and_unknown_engine(moeplace, native, tiny):
    """Bad input is 3, not 7."""
    (tiny / "x.json").write_text("{")
    assert moeplace("check", "x.json", "-e", "sglang").exit_code == 3
    assert "did you mean" in moeplace("check", "x.json", "-e", "sglan").stderr
    done = moeplace("convert", "p.json", "x.json", "--to", "lmdeploy", *MODEL)
    assert "trace convert LOADS" in done.stderr


def test_loads_for_an_engine(moeplace, tiny):
    """Loads of a trace are written for LMDeploy, checked, and read again."""
    done = moeplace("trace", "convert", "trace.npz", "l.json", "--to", "lmdeploy", *MODEL)
    assert done.exit_code == 0, done.output
    assert "LMDEPLOY_EPLB_EXPERTS_STATISTIC_FILE=l.json" in done.stderr
    rows = json.loads((tiny / "l.json").read_text())
    assert [sum(row) for row in rows] == [0, 800, 800]
    assert moeplace("check", "l.json", "-e", "lmdeploy", *MODEL).exit_code == 0
    done = moeplace("trace", "convert", "l.json", "k.pt", "--to", "sglang-recorder", *MODEL)
    assert done.exit_code == 0, done.output
    done = moeplace("check", "k.pt", "-e", "ktransformers", *MODEL)
    assert done.exit_code == 0, done.output
    done = moeplace("trace", "convert", "trace.npz", "out.npz", *MODEL)
    assert done.exit_code == 2
