from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from moeplace.traces import load_trace
from moeplace.traces.stored import open_trace

TREE = Path(__file__).parents[1] / "traces" / "fixtures" / "chaos" / "tiny-moe"
SHIPPED = "deepseek-v2-lite/prefill_esft"


@pytest.fixture
def run(moeplace):
    """Return a function that runs a command and gives code, out and err."""

    def call(*arguments):
        done = moeplace(*arguments)
        return SimpleNamespace(code=done.exit_code, out=done.stdout, err=done.stderr)

    return call


@pytest.fixture
def few(tmp_path, run):
    """Return a small trace on disk."""
    path = tmp_path / "few.npz"
    assert run("trace", "sample", SHIPPED, "--requests", "6", "-o", str(path)).code == 0
    return path


def test_a_tree_streams_into_a_folder(tmp_path, run):
    """Import -o FOLDER streams, tells tokens and requests, and can be described and reduced."""
    out = tmp_path / "made"
    done = run("trace", "import", str(TREE), "-o", str(out), "--jobs", "1")
    assert done.code == 0, done.err
    assert "11 tokens, 3 requests, 1 parts" in done.err
    assert open_trace(out).num_tokens == 11
    stats = run("trace", "stats", str(out), "--format", "json")
    assert json.loads(stats.out)["tokens"] == 11
    info = run("trace", "info", str(out), "--format", "json")
    assert json.loads(info.out)["requests"] == 3


def test_an_estimate_writes_nothing(run):
    """Import --estimate says the time on a cluster; without it a name is needed."""
    given = ("trace", "import", str(TREE))
    done = run(*given, "--estimate", "--machines", "4", "--jobs", "2", "--size-GB", "2",
               "--storage-GBps", "1", "--format", "json")  # fmt: skip
    assert done.code == 0, done.err
    found = json.loads(done.out)
    assert (found["machines"], found["jobs"], found["source_bytes"]) == (4, 2, 2_000_000_000)
    assert found["wall_s"] >= 2.0
    table = run(*given, "--estimate")
    assert "rate of one worker" in table.out
    missing = run(*given)
    assert missing.code == 2
    assert "-o" in missing.err


def test_engines_need_their_cluster(tmp_path, run):
    """Dask without an address is an error, not a wait."""
    out = str(tmp_path / "made")
    assert run("trace", "import", str(TREE), "-o", out, "--engine", "dask").code == 3
    assert not Path(out).exists()


def test_split_merge_and_window(few, tmp_path, run):
    """What split takes apart, merge puts together."""
    whole = load_trace(few)
    assert run("trace", "split", str(few), "-o", str(tmp_path / "s"), "--by", "time").code == 0
    parts = [str(tmp_path / "s-fit"), str(tmp_path / "s-holdout")]
    assert run("trace", "merge", *parts, "-o", str(tmp_path / "m.npz")).code == 0
    np.testing.assert_array_equal(load_trace(tmp_path / "m.npz").expert_ids, whole.expert_ids)
    window = run("trace", "window", str(few), "--tokens", "5:9", "-o", str(tmp_path / "w.npz"))
    assert "4 tokens" in window.err
    assert run("trace", "window", str(few), "--tokens", "x", "-o", "w.npz").code == 2


def test_insights_in_every_format(few, tmp_path, run):
    """Rows, sentences and the graph come out; the table fits the paper's words."""
    graph = tmp_path / "g.graphml"
    text = run("trace", "insights", str(few), "--graphml", str(graph), "--layer", "3")
    assert text.code == 0, text.err
    assert "Prefill predicts decode: not told" in " ".join(text.out.split())
    assert graph.read_text().startswith("<?xml")
    document = json.loads(run("trace", "insights", str(few), "--format", "json").out)
    assert document["schema"] == "moeplace.insights/1"
    assert len(document["insights"]) == 6
    rows = run("trace", "insights", str(few), "--format", "csv").out.splitlines()
    assert rows[0].startswith("observation,figure,text,trace,baseline")
    assert len(rows) == len(document["rows"]) + 1


def test_stats_by_domain(few, run):
    """Each domain has a row; what is not recorded is an error."""
    rows = json.loads(run("trace", "stats", str(few), "--by", "domain", "--format", "json").out)
    assert {"domain", "tokens", "imbalance", "total_variation"} <= set(rows["rows"][0])
    assert run("trace", "stats", str(few), "--by", "moon").code == 2


def test_synth(tmp_path, run):
    """A preset gives a trace and its figures; parameters change it."""
    out = tmp_path / "s.npz"
    done = run(
        "trace", "synth", "--preset", "llama-4-maverick", "--layers", "2", "--requests", "4",
        "--prefill", "8", "--decode", "8", "-o", str(out), "--format", "json",
    )  # fmt: skip
    assert done.code == 0, done.err
    assert json.loads(done.out)["tokens"] == 64
    assert load_trace(out).layer_ids == (1, 3)
    assert {row["key"] for row in json.loads(done.out)["figures"]} >= {"layer_coverage"}
    assert run("trace", "synth", "--preset", "gpt", "-o", str(out)).code == 3
    assert run("trace", "synth", "-o", str(out)).code == 2
    assert "kimi-k2" in run("trace", "synth", "--list").out


def test_formats_are_listed(run):
    """All formats have a line."""
    from moeplace.traces import importers

    rows = json.loads(run("trace", "formats", "--format", "json").out)
    assert [row["format"] for row in rows] == list(importers())
