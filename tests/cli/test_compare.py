from __future__ import annotations

import json

import pytest

TINY = ("--model", "tiny.yaml", "--hw", "h100-sxm", "--ranks", "4", "--trace", "trace.npz")


def test_one_problem_keeps_its_document(moeplace):
    """One problem and seed: the document of DESIGN §7, and the rows that it always had."""
    done = moeplace("compare", *TINY, "--solvers", "contiguous,lpt", "--format", "json")
    assert done.exit_code == 0
    document = json.loads(done.stdout)
    assert document["schema"] == "moeplace.compare/1"
    assert document["problem"]["experts"] == 8
    assert document["lower_bound"] == document["rows"][0]["lower_bound"]
    for row, solver in zip(document["rows"], ("contiguous", "lpt"), strict=True):
        assert row["solver"] == solver
        assert row["value"] >= document["lower_bound"]
        assert row["gap"] == pytest.approx(1 - document["lower_bound"] / row["value"])
        assert row["score"]["balancedness"] == row["balancedness"]
        assert {"runtime_s", "status", "layers_with_duplicates", "error"} <= set(row)


def test_seeds_instances_and_files(moeplace, tiny):
    """Several seeds and instances: a row for each run, a table of sums, files, a resumed run."""
    words = ("compare", "--instances", "tiny-copies,tiny-hops", "--solvers", "contiguous,random",
             "--seeds", "2", "--store", "runs", "-o", "runs.csv")  # fmt: skip
    done = moeplace(*words)
    assert done.exit_code == 0
    assert "2 instances, 2 seeds" in done.stdout
    assert "tiny-hops" in done.stdout
    assert len((tiny / "runs.csv").read_text().splitlines()) == 1 + 2 * 2 * 2
    kept = {path: path.stat().st_mtime_ns for path in (tiny / "runs").iterdir()}
    again = moeplace(*words, "--format", "json")
    document = json.loads(again.stdout)
    assert document["problem"] is None
    assert [one["name"] for one in document["instances"]] == ["tiny-copies", "tiny-hops"]
    assert {row["seed"] for row in document["rows"]} == {0, 1}
    assert {path: path.stat().st_mtime_ns for path in (tiny / "runs").iterdir()} == kept


def test_listed_seeds_of_one_problem(moeplace):
    """Seeds with commas are taken as they are."""
    done = moeplace("compare", *TINY, "--solvers", "random", "--seeds", "7,3", "--format", "json")
    document = json.loads(done.stdout)
    assert [row["seed"] for row in document["rows"]] == [7, 3]
    assert document["summary"][0]["runs"] == 2


@pytest.mark.parametrize(
    ("words", "said", "code"),
    [
        (("--instances", "tiny-copies", "--model", "tiny.yaml"), "--instances", 2),
        (("--instances", ","), "--instances", 2),
        (("--instances", "tiny-copys"), "tiny-copies", 3),
        (("--instances", "tiny-copies", "--seeds", "0"), "--seeds", 2),
        (("--instances", "tiny-copies", "--seeds", "1,x"), "--seeds", 2),
        (("--instances", "tiny-copies", "--profile", "gap"), "--profile", 2),
        (("--instances", "tiny-copies", "-o", "runs.xls"), "runs.xls", 2),
        (("--instances", "tiny-copies", "--bound-effort", "much"), "--bound-effort", 2),
        (("--instances", "tiny-copies", "--plot", "no/where.svg"), "no", 3),
    ],
)
def test_wrong_words(words, said, code, moeplace):
    """Wrong options leave with one line, before anything is run."""
    done = moeplace("compare", *words)
    assert (done.exit_code, done.stdout) == (code, "")
    assert said in done.stderr


def test_instances_are_listed_and_shown(moeplace):
    """The library's names with best known values; one with who found and proved it."""
    rows = json.loads(moeplace("instance", "list", "--tag", "tiny", "--format", "json").stdout)
    named = {row["name"]: row for row in rows}
    assert named["tiny-copies"]["status"] == "optimal"
    shown = moeplace("instance", "show", "tiny-copies").stdout
    assert "16 experts, top 2, 4 ranks" in shown
    assert "proven by exact-" in shown
    assert moeplace("instance", "show", "tiny").exit_code == 3


def test_solving_beside_the_best_known(moeplace, tiny):
    """A baseline is worse than the best known; from the best known nothing gets worse."""
    done = moeplace("instance", "solve", "tiny-copies", "--solver", "contiguous", "-o", "p.json")
    assert "best known 19845.12" in done.stdout
    assert (tiny / "p.json").is_file()
    done = moeplace("instance", "solve", "tiny-balance", "--solver", "local-search",
                    "--from-best", "--format", "json")  # fmt: skip
    document = json.loads(done.stdout)
    assert document["instance"]["improves"] is False
    assert document["objective"]["value"] == pytest.approx(document["instance"]["value"])


def test_a_better_value_is_told(moeplace, monkeypatch):
    """Against a worse record the value found is said to be better."""
    from dataclasses import replace

    from moeplace.formulations import instances

    instance = instances.load_instance("tiny-balance")
    worse = replace(instance, record=replace(instance.record, value=instance.record.value * 1.5))
    monkeypatch.setattr(instances, "load_instance", lambda name: worse)
    done = moeplace("instance", "solve", "tiny-balance", "--solver", "lpt", "--format", "json")
    assert json.loads(done.stdout)["instance"]["improves"] is True
    assert "please report" in done.stderr


def test_check_leaves_with_7(moeplace, monkeypatch):
    """What holds is listed; a wrong record leaves with 7 and says what is wrong."""
    done = moeplace("instance", "check", "tiny-copies", "tiny-balance")
    assert (done.exit_code, done.stdout.count("holds")) == (0, 2)
    from dataclasses import replace

    from moeplace.formulations import instances

    instance = instances.load_instance("tiny-copies")
    wrong = replace(instance, record=replace(instance.record, value=1.0))
    monkeypatch.setattr(instances, "load_instance", lambda name: wrong)
    done = moeplace("instance", "check", "tiny-copies")
    assert done.exit_code == 7
    assert "is worth" in done.stderr
