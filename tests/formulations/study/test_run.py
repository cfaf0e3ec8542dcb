from __future__ import annotations

import csv
import json

import pytest

import moeplace
from moeplace.errors import InputError, UsageError
from moeplace.formulations.study import compare_instances, trial
from moeplace.formulations.study.plots import plot_gaps, plot_profile
from moeplace.formulations.study.write import save_study

SOLVERS = ("contiguous", "random", "lpt")


@pytest.fixture
def problems(make_tiny):
    """Return two problems of eight experts, one with replicas."""
    return {
        "one": make_tiny([[9, 7, 5, 4, 3, 2, 1, 1]], 2),
        "two": make_tiny([[9, 7, 5, 4, 3, 2, 1, 1]], 4, redundant=4),
    }


def test_everything_runs_and_is_scored(problems):
    """Every solver, seed and problem has a row; values and gaps are those of `evaluate`."""
    study = compare_instances(problems, SOLVERS, seeds=(0, 5))
    keys = [(t.instance, t.solver, t.seed) for t in study.trials]
    assert keys == [(p, s, n) for p in problems for s in SOLVERS for n in (0, 5)]
    for row in study.rows():
        problem = problems[row["instance"]]
        again = moeplace.solve(problem, row["solver"], seed=row["seed"])
        assert row["value"] == again.score.objective
        assert row["gap"] == again.gap
    assert study.winners("one") == ["lpt"]


def test_finished_runs_are_not_run_again(problems, tmp_path, monkeypatch):
    """A second call takes all from the store; another limit, seed or solver runs anew."""
    calls = []
    solve = trial.solve_beside

    def counted(beside, solver, limit, **others):
        calls.append((beside.problem.num_ranks, solver, beside.seed, limit))
        return solve(beside, solver, limit, **others)

    monkeypatch.setattr(trial, "solve_beside", counted)
    first = compare_instances(problems, SOLVERS[:2], store=tmp_path / "runs")
    assert len(calls) == 4
    again = compare_instances(problems, SOLVERS[:2], store=tmp_path / "runs")
    assert len(calls) == 4
    assert again.to_dict() == first.to_dict()
    renamed = compare_instances({"x": problems["one"]}, SOLVERS[:2], store=tmp_path / "runs")
    assert len(calls) == 4
    assert {t.instance for t in renamed.trials} == {"x"}
    compare_instances(problems, SOLVERS, seeds=(0, 1), store=tmp_path / "runs")
    assert len(calls) == 12
    compare_instances(problems, SOLVERS, time_limit_s=9.0, store=tmp_path / "runs")
    assert len(calls) == 18


def test_damaged_store(problems, tmp_path):
    """A damaged file of the store is named, not passed over."""
    compare_instances(problems, SOLVERS[:1], store=tmp_path)
    (path, *_) = tmp_path.glob("run-*.json")
    path.write_text('{"solver": "lpt"}')
    with pytest.raises(InputError, match=path.name):
        compare_instances(problems, SOLVERS[:1], store=tmp_path)


def test_interrupt_keeps_what_is_finished(problems, tmp_path, monkeypatch):
    """Ctrl-C in the third run: two are in the study and in the store, the next call goes on."""
    solve, calls = trial.solve_beside, []

    def interrupted(*given, **named):
        calls.append(given)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return solve(*given, **named)

    monkeypatch.setattr(trial, "solve_beside", interrupted)
    study = compare_instances(problems, SOLVERS, store=tmp_path)
    assert (study.limit, len(study.trials)) == ("interrupted", 2)
    study = compare_instances(problems, SOLVERS, store=tmp_path)
    assert (study.limit, len(study.trials), len(calls)) == ("", 6, 7)


def test_a_solver_that_refuses_gets_a_row(problems):
    """A solver of another objective fails with its reason; nothing else does."""
    study = compare_instances(problems, ("partition", "lpt"))
    failed = [row for row in study.rows() if row["error"]]
    assert {row["solver"] for row in failed} == {"partition"}
    assert all(row["status"] == "error" and row["value"] is None for row in failed)


def test_an_exact_proof_is_the_bound():
    """What an exact solver proves is the bound that all gaps refer to."""
    problem = moeplace.load_instance("tiny-balance").problem
    without = compare_instances({"p": problem}, ("lpt",))
    study = compare_instances({"p": problem}, ("contiguous", "exact-milp"))
    assert without.bound_of("p") < study.bound_of("p")
    found = {row["solver"]: row for row in study.rows()}
    assert found["exact-milp"]["status"] == "optimal"
    value = found["contiguous"]["value"]
    assert found["contiguous"]["gap"] == pytest.approx(1 - study.bound_of("p") / value)


def test_library_bounds_and_values(tmp_path):
    """On an instance of the library gaps refer to its proven bound; nothing is said to improve."""
    study = compare_instances(["tiny-copies"], ("contiguous",), warm_up=True)
    record = moeplace.load_instance("tiny-copies").record
    assert study.bound_of("tiny-copies") == pytest.approx(record.lower_bound)
    assert study.improved() == []
    assert study.to_dict()["instances"][0]["best_known"] == record.value


@pytest.mark.parametrize(
    ("instances", "solvers", "seeds"),
    [([], None, (0,)), (["tiny-copies"], None, ()), (["tiny-copi"], None, (0,)),
     (["tiny-copies"], ["lpd"], (0,)), ("tiny-copies", None, (0,))],
)  # fmt: skip
def test_wrong_words(instances, solvers, seeds):
    """Nothing to run, unknown names and a text for a list are refused."""
    with pytest.raises(InputError):
        compare_instances(instances, solvers, seeds=seeds)


def test_files_hold_every_run(problems, tmp_path):
    """CSV, Parquet and JSON hold the same values; the last two the course of each run."""
    import pyarrow.parquet as pq

    study = compare_instances(problems, SOLVERS)
    for suffix in (".csv", ".parquet", ".json"):
        save_study(study, tmp_path / f"runs{suffix}")
    values = [t.value for t in study.trials]
    with (tmp_path / "runs.csv").open() as file:
        assert [float(row["value"]) for row in csv.DictReader(file)] == values
    table = pq.read_table(tmp_path / "runs.parquet").to_pylist()
    assert [row["value"] for row in table] == values
    assert [row["history_value"][-1] for row in table] == values
    document = json.loads((tmp_path / "runs.json").read_text())
    assert [row["history"][-1]["value"] for row in document["rows"]] == values
    with pytest.raises(UsageError, match=r"\.parquet"):
        save_study(study, tmp_path / "runs.xls")


def test_plots(problems, tmp_path):
    """Pictures name every solver; the same study makes the same file."""
    pytest.importorskip("matplotlib")
    study = compare_instances(problems, SOLVERS)
    for name, draw in (("gaps", plot_gaps), ("profile", plot_profile)):
        draw(study, tmp_path / f"{name}.svg")
        draw(study, tmp_path / f"{name}2.svg")
        text = (tmp_path / f"{name}.svg").read_text()
        assert all(solver in text for solver in SOLVERS)
        assert text == (tmp_path / f"{name}2.svg").read_text()
    failed = compare_instances(problems, ("partition",))
    for draw in (plot_gaps, plot_profile):
        with pytest.raises(InputError, match="nothing to draw"):
            draw(failed, tmp_path / "none.svg")
    assert not (tmp_path / "none.svg").exists()
