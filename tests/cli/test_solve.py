from __future__ import annotations

import csv
import io
import json

import pytest

from moeplace.formulations.heuristics.simple import contiguous
from moeplace.placement.formats import read_metadata, read_placement

PROBLEM_KEYS = {
    "model", "system", "phase", "tokens_per_rank", "layers", "experts", "top_k", "ranks", "slots",
    "redundant", "dedup", "dispatch", "objective", "workload", "fingerprint",
}  # fmt: skip
SCORE_KEYS = {
    "step_time_s", "dispatch_s", "compute_s", "combine_s", "balancedness", "copies_per_token",
    "hops_per_token", "max_link_bytes", "memory_GiB_per_rank",
}  # fmt: skip


def test_json_has_the_agreed_keys(moeplace, problem):
    """The document of DESIGN §7, its bound below its value, its value the best of the scores."""
    done = moeplace("solve", *problem, "--format", "json")
    assert done.exit_code == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["schema"] == "moeplace.result/1"
    assert result["problem"].keys() >= PROBLEM_KEYS
    assert result["problem"]["workload"] == {
        "name": "trace", "kind": "measured", "loads": "measured", "token_sets": "measured"
    }  # fmt: skip
    assert result.keys() >= {"solver", "seed", "status", "runtime_s", "placement"}
    assert result["objective"].keys() >= {"name", "value", "lower_bound", "gap"}
    for score in (
        result["score"],
        *result["scores_by_phase"].values(),
        *result["baselines"].values(),
        result["holdout"]["score"],
        *result["holdout"]["baselines"].values(),
    ):
        assert score.keys() >= SCORE_KEYS
    assert result["baselines"].keys() == {"contiguous", "random", "eplb"}
    assert result["scores_by_phase"].keys() == {"prefill", "decode"}
    assert (result["holdout"]["by"], result["holdout"]["fraction"]) == ("request", 0.5)
    value = result["objective"]["value"]
    assert result["objective"]["lower_bound"] <= value * (1 + 1e-9)
    assert value == result["score"]["step_time_s"]
    assert value <= min(score["step_time_s"] for score in result["baselines"].values())


def test_table_shows_the_rows_of_the_document(moeplace, problem):
    """Four rows, the same numbers as in the JSON, a bound with its gap, 80 columns at most."""
    table = moeplace("solve", *problem, "--solver", "lpt").stdout
    result = json.loads(moeplace("solve", *problem, "--solver", "lpt", "--format", "json").stdout)
    lines = table.splitlines()
    assert all(len(line) <= 80 for line in lines)
    for name, score in [("random", result["baselines"]["random"]), ("moeplace", result["score"])]:
        row = next(line for line in lines if line.startswith(name))
        layer_us = score["step_time_s"] / result["problem"]["layers"] * 1e6
        assert f" {layer_us:,.1f} " in row
        assert f"{score['balancedness']:.3f}" in row
    assert [line.split()[0] for line in lines[6:10]] == ["contiguous", "random", "EPLB", "moeplace"]
    assert any("lower bound" in line and "gap" in line for line in lines)
    assert any("on 50% of the requests" in line for line in lines)
    assert any("in decode" in line for line in lines)


def test_loads_alone_are_called_synthetic(moeplace, loads_problem):
    """Sets that were generated are named so, in the table and in the document."""
    table = moeplace("solve", *loads_problem).stdout
    assert "measured loads, synthetic token sets" in table
    document = json.loads(moeplace("solve", *loads_problem, "--format", "json").stdout)
    assert document["problem"]["workload"]["kind"] == "synthetic"
    assert document["holdout"] is None


def test_csv_has_a_row_for_each_placement_phase_and_part(moeplace, problem):
    """Four placements in two phases, and four on the part held out."""
    done = moeplace("solve", *problem, "--solver", "lpt", "--format", "csv")
    rows = list(csv.DictReader(io.StringIO(done.stdout)))
    assert len(rows) == 12
    assert {row["part"] for row in rows} == {"fit", "holdout"}
    assert all(float(row["step_time_s"]) > 0 for row in rows)


def test_files_hold_what_was_shown(moeplace, problem, tiny):
    """-o gives a placement that remembers its options, --result the document of stdout."""
    done = moeplace(
        "solve", *problem, "-o", "out/p.npz", "--result", "out/r.json", "--format", "json"
    )
    assert done.exit_code == 0, done.stderr
    shown, written = json.loads(done.stdout), json.loads((tiny / "out/r.json").read_text())
    assert written.pop("certificate")["inputs"]["options"]["model"] == "tiny.yaml"
    assert shown == written
    assert shown["placement"] == "out/p.npz"
    placement = read_placement(tiny / "out/p.npz")
    assert placement.layer_ids == (1, 2)
    options = read_metadata(tiny / "out/p.npz")["options"]
    assert (options["model"], options["ranks"]) == ("tiny.yaml", 4)
    assert sorted(path.name for path in (tiny / "out").iterdir()) == ["p.npz", "r.json"]


def test_same_seed_same_map(moeplace, problem, tiny):
    """Two runs write the same bytes; another seed moves the split."""
    for name in ("a.json", "b.json"):
        moeplace("solve", *problem, "--seed", 3, "-o", f"out/{name}")
    assert (tiny / "out/a.json").read_bytes() == (tiny / "out/b.json").read_bytes()


def test_initial_is_never_made_worse(moeplace, problem):
    """Starting from the best map known gives a value that is no higher."""
    first = json.loads(moeplace("solve", *problem, "-o", "out/p.json", "--format", "json").stdout)
    again = moeplace(
        "solve", *problem, "--solver", "local-search", "--initial", "out/p.json", "--format", "json"
    )
    assert json.loads(again.stdout)["objective"]["value"] <= first["objective"]["value"]


def test_progress_stays_off_stdout(moeplace, problem, monkeypatch):
    """Progress shows incumbent, bound and gap on stderr; stdout stays JSON; --quiet is silent."""
    monkeypatch.setattr("moeplace.cli.progress.FIRST_AFTER_S", 0.0)
    monkeypatch.setattr("moeplace.cli.progress.TICK_S", 0.001)
    monkeypatch.setattr("moeplace.cli.progress.PLAIN_EVERY_S", 0.0)
    done = moeplace("solve", *problem, "--format", "json")
    json.loads(done.stdout)
    assert "best" in done.stderr
    assert "bound" in done.stderr
    assert "gap" in done.stderr
    assert moeplace("solve", *problem, "--format", "json", "--quiet").stderr == ""


def test_interrupt_keeps_the_best(moeplace, problem, tiny, monkeypatch):
    """Ctrl-C while solving writes and shows the best map found until then and leaves with 130."""

    def interrupted(problem, run, initial):
        run.report(contiguous(problem, run, None).placement)
        raise KeyboardInterrupt

    monkeypatch.setattr("moeplace.formulations.solve.load_solver", lambda name: interrupted)
    done = moeplace("solve", *problem, "-o", "out/p.json", "--format", "json")
    assert done.exit_code == 130
    result = json.loads(done.stdout)
    assert result["limit"] == "interrupted"
    assert result["score"] == result["baselines"]["contiguous"]
    assert (tiny / "out/p.json").is_file()
    assert "interrupted" in done.stderr


def test_time_limit_is_no_error(moeplace, problem):
    """A limit that leaves a placement leaves with 0."""
    done = moeplace("solve", *problem, "--time-limit", "0.001", "--format", "json")
    assert done.exit_code == 0
    assert json.loads(done.stdout)["status"] in ("feasible", "optimal")


@pytest.mark.parametrize("objective", ["balance", "copies", "hops"])
def test_other_objectives(objective, moeplace, problem):
    """Every objective gives a value, a bound and a table."""
    done = moeplace("solve", *problem, "--objective", objective, "--format", "json")
    found = json.loads(done.stdout)["objective"]
    assert found["name"] == objective
    assert found["lower_bound"] <= found["value"] * (1 + 1e-9)
    assert "lower bound" in moeplace("solve", *problem, "--objective", objective).stdout
