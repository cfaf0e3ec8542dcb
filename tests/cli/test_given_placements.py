"""evaluate, export, compare and bound."""

from __future__ import annotations

import csv
import io
import json

import pytest


@pytest.fixture
def solved(moeplace, problem):
    """Return the document of a map in out/p.json with 10 of 12 slots taken at most."""
    done = moeplace("solve", *problem, "--redundant", 2, "-o", "out/p.json", "--format", "json")
    return json.loads(done.stdout)


def test_evaluate_recalls_the_options(moeplace, solved):
    """A map scores the same again with no option but its file."""
    done = moeplace("evaluate", "out/p.json", "--format", "json")
    assert done.exit_code == 0, done.stderr
    again = json.loads(done.stdout)
    assert again["schema"] == "moeplace.result/1"
    assert (again["solver"], again["violations"]) == ("evaluate", [])
    for key in ("problem", "score", "baselines", "scores_by_phase", "holdout"):
        assert again[key] == solved[key]
    assert again["objective"]["lower_bound"] == solved["objective"]["lower_bound"]
    assert "placement" in moeplace("evaluate", "out/p.json").stdout


def test_evaluate_in_another_phase(moeplace, solved):
    """--phase goes before what the file remembers, and takes that phase's batch."""
    again = json.loads(
        moeplace("evaluate", "out/p.json", "--phase", "decode", "--format", "json").stdout
    )
    assert again["problem"]["tokens_per_rank"] == 128
    expected = solved["scores_by_phase"]["decode"]
    for key in ("step_time_s", "compute_s", "balancedness", "copies_per_token"):
        assert again["score"][key] == pytest.approx(expected[key], rel=1e-9)


def test_a_batch_chosen_for_one_phase_does_not_follow_into_another(moeplace, problem):
    """1,000 tokens a rank were meant for prefill: kept there, decode takes its own default."""
    moeplace("solve", *problem, "--tokens-per-rank", 1000, "-o", "out/p.json")
    tokens = {
        phase: json.loads(
            moeplace("evaluate", "out/p.json", "--phase", phase, "--format", "json").stdout
        )["problem"]["tokens_per_rank"]
        for phase in ("prefill", "decode")
    }
    assert tokens == {"prefill": 1000, "decode": 128}


def test_evaluate_names_broken_rules(moeplace, solved):
    """Fewer redundant experts than the map has: scored, infeasible, and said which rule."""
    done = moeplace("evaluate", "out/p.json", "--redundant", 0, "--format", "json")
    result = json.loads(done.stdout)
    assert done.exit_code == 0
    if result["violations"]:
        assert result["status"] == "infeasible"
        assert "breaks a rule" in done.stderr


def test_evaluate_needs_to_know_for_what(moeplace, solved, problem):
    """An engine's file does not say its model: a usage error; with options it is scored."""
    moeplace("export", "out/p.json", "--to", "sglang", "-o", "out/sg.json")
    done = moeplace("evaluate", "out/sg.json")
    assert done.exit_code == 2
    assert "--model" in done.stderr
    assert moeplace("evaluate", "out/sg.json", *problem).exit_code == 0


@pytest.mark.parametrize("text", ["", "{", '{"schema": "moeplace.placement/9"}', "[[0, 1], [2]]"])
def test_evaluate_bad_file(text, moeplace, problem, tiny):
    """A placement that cannot be read is one line and exit code 3."""
    (tiny / "bad.json").write_text(text)
    done = moeplace("evaluate", "bad.json", *problem)
    assert (done.exit_code, done.stdout) == (3, "")
    assert done.stderr.count("\n") == 1
    assert "bad.json" in done.stderr


def test_evaluate_other_ranks(moeplace, solved):
    """A map of four ranks is not scored on six."""
    done = moeplace("evaluate", "out/p.json", "--hw", "mesh:2x3")
    assert done.exit_code == 3
    assert done.stderr.count("\n") == 1


def test_export_writes_fills_and_scores(moeplace, solved, tiny):
    """SGLang gets a full table of all three layers, the flags to load it and its time."""
    words = ["export", "out/p.json", "--to", "sglang", "-o", "out/sg.json"]
    done = moeplace(*words, "--format", "json")
    assert done.exit_code == 0, done.stderr
    report = json.loads(done.stdout)
    rows = json.loads((tiny / "out/sg.json").read_text())["physical_to_logical_map"]
    assert [len(row) for row in rows] == [12, 12, 12]
    assert any("--init-expert-location" in flag for flag in report["flags"])
    assert report["score_before"]["step_time_s"] == solved["score"]["step_time_s"]
    assert report["score"]["step_time_s"] > 0
    text = moeplace(*words).stdout
    assert "layer time as written" in text


def test_export_without_fill_is_refused(moeplace, solved, tiny):
    """Empty slots and an engine that wants none: check failed, nothing written."""
    done = moeplace("export", "out/p.json", "--to", "sglang", "-o", "out/sg.json", "--no-fill")
    assert done.exit_code == 7
    assert not (tiny / "out/sg.json").exists()


@pytest.mark.parametrize(
    ("engine", "file", "code", "found"),
    [("sglagn", "x.json", 3, "did you mean 'sglang'"), ("sglang", "x.yaml", 2, ".json")],
)
def test_export_bad_options(engine, file, code, found, moeplace, solved, tiny):
    """An unknown engine has a suggestion; a wrong ending is refused before any work."""
    done = moeplace("export", "out/p.json", "--to", engine, "-o", f"out/{file}")
    assert done.exit_code == code
    assert found in done.stderr
    assert not (tiny / "out" / file).exists()


def test_export_when_the_trace_is_gone(moeplace, solved, tiny):
    """The map is written without its score; the reason is a note."""
    (tiny / "trace.npz").unlink()
    done = moeplace("export", "out/p.json", "--to", "eplb", "-o", "out/maps.npz")
    assert done.exit_code == 0
    assert "not scored again" in done.stderr
    assert (tiny / "out/maps.npz").is_file()


def test_compare_json_and_csv(moeplace, problem):
    """One row a solver, all above the bound; EPLB's duplicates are counted."""
    options = [*problem, "--redundant", 4, "--solvers", "contiguous,eplb,lpt"]
    document = json.loads(moeplace("compare", *options, "--format", "json").stdout)
    assert document["schema"] == "moeplace.compare/1"
    assert [row["solver"] for row in document["rows"]] == ["contiguous", "eplb", "lpt"]
    for row in document["rows"]:
        assert row.keys() >= {"value", "gap", "runtime_s", "status", "balancedness", "score"}
        assert row["layers_with_duplicates"] == 0 or row["solver"] == "eplb"
        if row["solver"] != "eplb":
            assert row["value"] >= document["lower_bound"] * (1 - 1e-9)
    rows = list(
        csv.DictReader(io.StringIO(moeplace("compare", *options, "--format", "csv").stdout))
    )
    assert [row["solver"] for row in rows] == ["contiguous", "eplb", "lpt"]
    assert float(rows[2]["step_time_s"]) == document["rows"][2]["score"]["step_time_s"]


def test_compare_by_default_runs_every_heuristic(moeplace, problem):
    """The table has a line for auto and for the baselines, in 80 columns."""
    done = moeplace("compare", *problem)
    assert done.exit_code == 0, done.stderr
    names = {line.split(" ")[0] for line in done.stdout.splitlines()}
    assert names >= {"auto", "local-search", "lpt", "contiguous", "random", "eplb"}
    assert all(len(line) <= 80 for line in done.stdout.splitlines())


def test_compare_unknown_solver(moeplace, problem):
    """A wrong name is found before anything runs."""
    done = moeplace("compare", *problem, "--solvers", "auto,egplb")
    assert done.exit_code == 3
    assert "did you mean 'eplb'" in done.stderr


def test_bound(moeplace, problem):
    """The terms add up to the bound of time, which no placement of solve beats."""
    document = json.loads(moeplace("bound", *problem, "--format", "json").stdout)
    assert document["schema"] == "moeplace.bound/1"
    assert sum(document["terms"].values()) == pytest.approx(document["lower_bound"])
    assert sum(document["layer_lower_bound"]) == pytest.approx(document["lower_bound"])
    assert "lower bound" in moeplace("bound", *problem).stdout
    rows = moeplace("bound", *problem, "--format", "csv").stdout.splitlines()
    assert rows[0] == "layer,lower_bound"
    assert len(rows) == 3
