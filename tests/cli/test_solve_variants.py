"""`moeplace solve` beyond one workload and a blank start: scenarios, moves, how many copies."""

from __future__ import annotations

import json


def solved(moeplace, *options):
    """Run solve and return its JSON document."""
    done = moeplace("solve", *options, "--format", "json", "-q")
    assert done.exit_code == 0, done.stderr
    return json.loads(done.stdout)


def test_robust_takes_every_trace_as_a_scenario(moeplace, tiny, loads_problem):
    """Two load files give two scenarios; the value is the worse of the two."""
    loads = json.loads((tiny / "loads.json").read_text())["logical_count"]
    (tiny / "other.json").write_text(json.dumps({"logical_count": [row[::-1] for row in loads]}))
    found = solved(moeplace, *loads_problem, "--trace", "other.json", "--robust", "max")
    values = [scenario["objective"] for scenario in found["scenarios"]]
    assert len(values) == 2
    assert found["objective"]["value"] == max(values)
    assert found["problem"]["risk"] == "max"
    shown = moeplace("solve", *loads_problem, "--trace", "other.json", "--robust", "mean", "-q")
    assert "the mean over these scenarios" in shown.stdout


def test_robust_without_traces_of_phases_takes_both_phases(moeplace, problem):
    """A trace with prefill and decode gives one scenario for each."""
    found = solved(moeplace, *problem, "--robust", "mean")
    assert [s["phase"] for s in found["problem"]["scenarios"]] == ["prefill", "decode"]


def test_moves_from_a_map_in_use_are_capped_and_shown(moeplace, tiny, loads_problem):
    """A map fitted on other loads changes by at most one replica a layer."""
    assert moeplace("solve", *loads_problem, "-q", "-o", "old.json").exit_code == 0
    loads = json.loads((tiny / "loads.json").read_text())["logical_count"]
    (tiny / "other.json").write_text(json.dumps({"logical_count": [row[::-1] for row in loads]}))
    other = [*loads_problem[:-1], "other.json"]
    found = solved(moeplace, *other, "--current", "old.json", "--max-moves", "2")
    assert 0 < found["score"]["moved_replicas"] <= 4
    assert found["violations"] == []
    free = solved(moeplace, *other, "--current", "old.json")
    assert free["objective"]["value"] <= found["objective"]["value"]
    table = moeplace("solve", *other, "--current", "old.json", "--move-price", "5", "-q")
    assert "replicas move" in table.stdout


def test_redundant_auto_says_what_one_more_brings(moeplace, tiny, loads_problem):
    """Steps ascend, the chosen one is the last that paid, and the reason to stop is shown."""
    found = solved(moeplace, *loads_problem, "--redundant", "auto")
    tried = [step["redundant"] for step in found["redundancy"]["steps"]]
    assert tried[:2] == [0, 4]
    assert found["problem"]["redundant"] in tried
    values = {step["redundant"]: step["value"] for step in found["redundancy"]["steps"]}
    assert found["objective"]["value"] == values[found["problem"]["redundant"]]
    assert found["redundancy"]["stopped"]


def test_options_that_do_not_fit_together(moeplace, loads_problem):
    """Each is a usage error that names the option, and nothing else."""
    for options, word in (
        (("--max-moves", "2"), "--current"),
        (("--redundant", "many"), "--redundant"),
        (("--seed", "-1"), "--seed"),
        (("--robust", "max", "--holdout", "0.5"), "--holdout"),
        (("--redundant", "auto", "--slots-per-rank", "4"), "--redundant auto"),
    ):
        done = moeplace("solve", *loads_problem, *options)
        assert done.exit_code == 2
        assert word in done.stderr
        assert len(done.stderr.strip().splitlines()) == 1
    assert moeplace("solve", *loads_problem, "--robust", "median").exit_code == 2
    assert moeplace("bound", *loads_problem, "--redundant", "auto").exit_code == 2
