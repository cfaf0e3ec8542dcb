"""trace, hw, model, solvers and doctor."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path

import numpy as np
import pytest

from moeplace.cli.installation import EXTRAS
from moeplace.models import list_models
from moeplace.traces import load_trace, load_workload


def test_trace_info(moeplace, tiny):
    """Shape, requests and phases of a trace; loads say that they are loads."""
    facts = json.loads(moeplace("trace", "info", "trace.npz", "--format", "json").stdout)
    assert (facts["holds"], facts["tokens"], facts["requests"]) == ("tokens", 400, 20)
    assert facts["phases"] == {"prefill": 300, "decode": 100}
    loads = json.loads(moeplace("trace", "info", "loads.json", "--format", "json").stdout)
    assert (loads["holds"], loads["experts"]) == ("loads", 8)
    assert "requests" in moeplace("trace", "info", "trace.npz").stdout


def test_trace_info_checks_the_model(moeplace, tiny):
    """With --model the layers get their absolute ids, and a trace of another model is refused."""
    facts = json.loads(
        moeplace("trace", "info", "trace.npz", "--model", "tiny.yaml", "--format", "json").stdout
    )
    assert facts["layer_ids"] == [1, 2]
    done = moeplace("trace", "info", "trace.npz", "--model", "deepseek-v3")
    assert done.exit_code == 3
    assert "another model" in done.stderr


def test_unknown_numbers_are_left_out(moeplace):
    """Loads without a model do not tell their tokens: none are claimed."""
    facts = json.loads(moeplace("trace", "info", "loads.json", "--format", "json").stdout)
    assert facts["tokens"] is None
    assert "tokens" not in moeplace("trace", "info", "loads.json").stdout
    table = moeplace("trace", "stats", "loads.json").stdout
    assert "0 tokens" not in table
    assert "None" not in table


def test_trace_list(moeplace):
    """What is shipped is listed by name; without a name the command says so."""
    assert "deepseek-v3/prefill_in4096" in moeplace("trace", "info", "--list").stdout
    assert moeplace("trace", "info").exit_code == 2


def test_trace_stats(moeplace):
    """One row a layer in every format; a phase takes its tokens only."""
    document = json.loads(moeplace("trace", "stats", "trace.npz", "--format", "json").stdout)
    assert len(document["gini"]) == 2
    assert document["tokens"] == 400
    rows = moeplace("trace", "stats", "trace.npz", "--phase", "decode", "--format", "csv").stdout
    assert len(rows.splitlines()) == 3
    table = moeplace("trace", "stats", "loads.json").stdout
    assert "Gini" in table
    assert all(len(line) <= 80 for line in table.splitlines())


@pytest.mark.parametrize("name", ["copy.npz", "copy.parquet", "copy"])
def test_trace_convert_keeps_the_tokens(name, moeplace, tiny):
    """Every format holds the same ids."""
    done = moeplace("trace", "convert", "trace.npz", f"out/{name}")
    assert done.exit_code == 0, done.stderr
    copy, first = load_trace(tiny / "out" / name), load_trace(tiny / "trace.npz")
    assert np.array_equal(copy.expert_ids, first.expert_ids)
    assert np.array_equal(copy.request, first.request)


def test_trace_convert_says_how_a_name_may_end(moeplace):
    """A wrong ending is a usage error that names the right ones."""
    done = moeplace("trace", "convert", "trace.npz", "out.txt")
    assert done.exit_code == 2
    assert "must end in .npz or .parquet, or have no ending (a folder)" in done.stderr


def test_trace_import_adds_loads(moeplace, tiny):
    """Two recordings of loads become one file of their sum, with the model's layer ids."""
    done = moeplace(
        "trace", "import", "loads.json", "loads.json", "--model", "tiny.yaml", "-o", "out/l.npz"
    )
    assert done.exit_code == 0, done.stderr
    assert done.stdout == ""
    merged, once = load_workload(tiny / "out/l.npz"), load_workload(tiny / "loads.json")
    assert np.array_equal(merged.load, 2 * once.load)
    assert merged.layer_ids == (1, 2)


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("trace.npz", "-o", "out/x.csv"), 2),
        (("trace.npz", "-o", "gone/x.npz"), 3),
        (("trace.npz", "loads.json", "-o", "out/x.npz"), 2),
        (("loads.json", "-o", "out/x.parquet"), 2),
        (("gone.npz", "-o", "out/x.npz"), 3),
        (("trace.npz", "--from", "xyz", "-o", "out/x.npz"), 2),
    ],
)
def test_trace_import_errors_write_nothing(arguments, code, moeplace, tiny):
    """One line, the right code, an empty folder."""
    done = moeplace("trace", "import", *arguments)
    assert done.exit_code == code, done.output
    assert done.stderr.count("\n") == 1
    assert not list((tiny / "out").iterdir())


def test_hw_list_and_show(moeplace):
    """Every system with its aliases; one with all constants and their sources."""
    systems = json.loads(moeplace("hw", "list", "--format", "json").stdout)
    assert {"wafer-dojo-5x5", "h100-sxm"} <= {system["name"] for system in systems}
    facts = json.loads(moeplace("hw", "show", "mesh:2x3", "--format", "json").stdout)
    assert facts["ranks"] == 6
    assert all(row["source"] for row in facts["constants"])
    table = moeplace("hw", "show", "h100-sxm", "--ranks", 16).stdout
    assert "16 ranks, 2 nodes" in table
    assert all(len(line) <= 80 for line in table.splitlines())
    assert moeplace("hw", "list").stdout.count("mesh:RxC") == 1
    assert moeplace("hw", "show", "wafre").exit_code == 3


def test_model_list_and_show(moeplace, tiny):
    """The catalogue by name; one model with its layers; a Hugging Face config too."""
    rows = json.loads(moeplace("model", "list", "--format", "json").stdout)
    assert len(rows) >= 20
    assert all(len(line) <= 80 for line in moeplace("model", "list").stdout.splitlines())
    facts = json.loads(moeplace("model", "show", "tiny.yaml", "--format", "json").stdout)
    assert facts["moe_layers"] == [1, 2]
    config = {
        "architectures": ["MixtralForCausalLM"], "model_type": "mixtral", "hidden_size": 64,
        "intermediate_size": 128, "num_hidden_layers": 2, "num_local_experts": 8,
        "num_experts_per_tok": 2,
    }  # fmt: skip
    (tiny / "config.json").write_text(json.dumps(config))
    assert "64" in moeplace("model", "show", "config.json").stdout
    assert moeplace("model", "show", "mixtral-8x7").exit_code == 3


def test_solvers(moeplace):
    """Every solver of the registry with its objectives."""
    from moeplace.formulations.registry import SOLVERS

    rows = json.loads(moeplace("solvers", "--format", "json").stdout)
    assert [row["name"] for row in rows] == list(SOLVERS)
    table = moeplace("solvers").stdout
    assert "auto" in table
    assert all(len(line) <= 80 for line in table.splitlines())


def test_doctor(moeplace):
    """All backends solve a model of one variable here, CBC and HiGHS beside OR-Tools included."""
    done = moeplace("doctor", "--json")
    document = json.loads(done.stdout)
    assert done.exit_code == 0
    assert document["schema"] == "moeplace.doctor/1"
    assert document["ok"] is True
    assert {"ortools CP-SAT", "PuLP CBC", "SciPy HiGHS beside ortools"} == set(document["backends"])
    assert all(check["status"] == "ok" for check in document["backends"].values())
    assert document["machine"]["memory"]["GiB"] > 0.1
    assert document["data"]["shipped data"]["models"] == len(list_models())
    assert json.loads(moeplace("doctor", "--format", "json").stdout).keys() == document.keys()


def test_doctor_finds_what_is_missing(moeplace, monkeypatch):
    """A backend that fails is shown and leaves with 7; a missing extra says what it would give."""
    monkeypatch.setattr(
        "moeplace.formulations.backends.check_backends", lambda: {"PuLP CBC": (False, "no CBC")}
    )
    monkeypatch.setattr("moeplace.cli.installation.EXTRAS", {"moon": (("no-such",), "cheese")})
    done = moeplace("doctor")
    assert done.exit_code == 7
    assert "PuLP CBC" in done.stderr
    assert "no CBC" in done.stdout
    assert "pip install 'moeplace[moon]' gives cheese" in done.stdout


def test_doctor_knows_the_extras():
    """Every extra that users install is examined, with the packages that pyproject names."""
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    wanted = {
        extra: tuple(re.split("[<>=!]", one)[0] for one in needs)
        for extra, needs in project["optional-dependencies"].items()
        if extra not in ("all", "dev", "test", "lint", "docs")
    }
    assert {extra: packages for extra, (packages, _) in EXTRAS.items()} == wanted
