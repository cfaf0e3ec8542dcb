"""`--execution stay` from the command line."""

from __future__ import annotations

import json

import numpy as np
import pytest
from typer.testing import CliRunner

from moeplace.cli.main import app
from moeplace.traces import RoutingTrace, save_trace

HERE = ("--model", "deepseek-v2-lite", "--hw", "h100-sxm", "--ranks", "4", "--format", "json", "-q")


def run(*words):
    """Run the program; return exit code and stdout as JSON if it succeeded."""
    result = CliRunner().invoke(app, [str(word) for word in words])
    return result.exit_code, json.loads(result.stdout) if not result.exit_code else result


@pytest.fixture
def trace(tmp_path):
    """Write a few tokens with all 26 MoE layers of DeepSeek-V2-Lite."""
    rng = np.random.default_rng(0)
    ids = np.argsort(rng.random((24, 26, 64)), axis=2)[:, :, :6]
    path = tmp_path / "trace.npz"
    save_trace(RoutingTrace.from_arrays(ids, 64, request=np.arange(24) // 4), path)
    return path


def test_solve_and_evaluate_remember_it(trace, tmp_path):
    """The map knows that tokens stay; return is another score of the same map."""
    out = tmp_path / "stay.json"
    where = (*HERE, "--trace", trace, "--execution", "stay", "--objective", "copies")
    code, solved = run("solve", *where, "--solver", "exflow", "-o", out)
    assert code == 0
    assert solved["problem"]["execution"] == "stay"
    assert solved["objective"]["lower_bound"] <= solved["objective"]["value"]
    assert solved["holdout"] is not None
    code, again = run("evaluate", out, "--format", "json", "-q")
    assert code == 0
    assert again["objective"]["value"] == solved["objective"]["value"]
    code, other = run("evaluate", out, "--execution", "return", "--format", "json", "-q")
    assert code == 0
    assert other["problem"]["execution"] == "return"
    assert other["objective"]["value"] != solved["objective"]["value"]


def test_what_cannot_be_scored_is_said():
    """Loads alone, an unknown word, a policy that looks at sources."""
    v3 = ("--model", "deepseek-v3", "--hw", "wafer", "-q")
    code, _ = run("bound", *v3, "--execution", "stay")
    assert code == 3
    code, _ = run("bound", *HERE, "--execution", "leave")
    assert code == 2
    code, _ = run("bound", *HERE, "--execution", "stay", "--dispatch", "nearest")
    assert code == 3
