from __future__ import annotations

import json

import numpy as np
import pytest

from moeplace.cli.inputs import build_problem
from moeplace.cli.options import ProblemOptions
from moeplace.errors import UsageError


@pytest.fixture
def build(tiny, monkeypatch):
    """Return a function that builds the tiny problem with some options changed."""
    monkeypatch.chdir(tiny)
    notes: list[str] = []

    def run(**changes):
        given = {"model": "tiny.yaml", "hw": "mesh:2x2", "trace": ["trace.npz"], **changes}
        return build_problem(ProblemOptions(**given), notes.append)

    run.notes = notes
    return run


def test_both_phases_come_from_one_trace(build):
    """Tokens of prefill and of decode make a workload each; prefill is the default."""
    problem = build(holdout="none")
    assert problem.phase == "prefill"
    assert {p: w.num_tokens for p, w in problem.phase_workloads.items()} == {
        "prefill": 300,
        "decode": 100,
    }
    assert build(holdout="none", phase="decode").workload.num_tokens == 100


def test_holdout_keeps_requests_apart(build):
    """Half of the 20 requests are held out by default, a fraction says how many otherwise."""
    problem = build()
    assert (problem.workload.num_tokens, problem.holdout.num_tokens) == (150, 150)
    fewer = build(holdout="0.2")
    assert (fewer.workload.num_tokens, fewer.holdout.num_tokens) == (240, 60)
    assert build(holdout="none").holdout is None


def test_holdout_file(build, tiny):
    """A second trace is reported on and the first is fitted on as a whole."""
    (tiny / "other.npz").write_bytes((tiny / "trace.npz").read_bytes())
    problem = build(holdout="other.npz", phase="decode")
    assert (problem.workload.num_tokens, problem.holdout.num_tokens) == (100, 100)
    assert problem.holdout_by == "file"


def test_traces_are_joined_and_loads_are_added(build):
    """The same file twice doubles the tokens, or the loads."""
    assert build(trace=["trace.npz"] * 2, holdout="none").workload.num_tokens == 600
    once, twice = (build(trace=["loads.json"] * times) for times in (1, 2))
    assert np.array_equal(twice.workload.load, 2 * once.workload.load)


def test_shipped_workloads_by_name(monkeypatch):
    """Without --trace the shipped loads of both phases are used, and the default is prefill."""
    problem = build_problem(
        ProblemOptions(model="deepseek-v3", hw="wafer", dedup="none"), lambda text: None
    )
    assert problem.workload.name == "deepseek-v3/prefill_in4096"
    assert set(problem.phase_workloads) == {"prefill", "decode"}
    assert problem.num_layers == 58


def test_a_phase_without_tokens_is_told(build, tiny):
    """Decode scored with prefill routing is said, not hidden."""
    arrays = dict(np.load(tiny / "trace.npz"))
    arrays["phase"] = np.zeros_like(arrays["phase"])
    np.savez(tiny / "prefill.npz", **arrays)
    assert build(trace=["prefill.npz"], phase="decode").phase == "decode"
    assert "only prefill routing is known" in build.notes[0]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"trace": ["trace.npz", "loads.json"]}, "files of one kind"),
        ({"trace": ["loads.json"], "holdout": "0.5"}, "needs a trace of tokens"),
        ({"holdout": "1.5"}, "between 0 and 1"),
        ({"holdout": "half"}, "a fraction, a file or none"),
        ({"holdout": "loads.json"}, "holds loads alone"),
        ({"model": None}, "--model"),
        ({"hw": None}, "--hw"),
        ({"phase": "training"}, "prefill, decode"),
    ],
)
def test_options_that_do_not_fit(changes, message, build):
    """Each is a usage error that says what to do."""
    with pytest.raises(UsageError, match=message):
        build(**changes)


def write(folder, name, **changes):
    """Write the trace with some arrays changed."""
    arrays = {**np.load(folder / "trace.npz"), **changes}
    np.savez(folder / name, **{key: value for key, value in arrays.items() if value is not None})


def bad_files(folder):
    """Write every kind of bad input."""
    whole = (folder / "trace.npz").read_bytes()
    (folder / "cut.npz").write_bytes(whole[: len(whole) // 2])
    text = (folder / "loads.json").read_text()
    (folder / "cut.json").write_text(text[: len(text) // 2])
    table = json.loads(text)["logical_count"]
    (folder / "nan.json").write_text(json.dumps({"logical_count": [[float("nan")] * 8, table[1]]}))
    (folder / "minus.json").write_text(json.dumps({"logical_count": [[-1] * 8, table[1]]}))
    (folder / "wide.json").write_text(json.dumps({"logical_count": [[1] * 16] * 2}))
    ids = np.load(folder / "trace.npz")["expert_ids"].copy()
    ids[5, 1, 0] = 200
    write(folder, "range.npz", expert_ids=ids)
    write(folder, "other.npz", num_experts=np.int64(64))
    write(folder, "top3.npz", expert_ids=np.tile(np.arange(3, dtype=np.uint8), (400, 2, 1)))
    (folder / "bad.yaml").write_text("name: bad\nlayers: 3\n")


@pytest.mark.parametrize(
    ("option", "value", "code", "found"),
    [
        ("--trace", "gone.npz", 3, "gone.npz: no such file"),
        ("--trace", "cut.npz", 3, "cut.npz"),
        ("--trace", "cut.json", 3, "cut.json"),
        ("--trace", "nan.json", 3, "nan.json"),
        ("--trace", "minus.json", 3, "minus.json"),
        ("--trace", "wide.json", 3, "another model"),
        ("--trace", "range.npz", 3, "expert 200 of token 5"),
        ("--trace", "other.npz", 3, "another model"),
        ("--trace", "top3.npz", 3, "another model"),
        ("--trace", "tiny.yaml", 3, "tiny.yaml"),
        ("--model", "deepsek-v3", 3, "did you mean 'deepseek-v3'"),
        ("--model", "bad.yaml", 3, "bad.yaml"),
        ("--model", "gone.json", 3, "gone.json"),
        ("--hw", "h100-smx", 3, "did you mean 'h100-sxm'"),
        ("--hw", "mesh:2by2", 3, "mesh:RxC"),
        ("--solver", "atuo", 3, "did you mean 'auto'"),
        ("--objective", "speed", 2, "speed"),
        ("--dedup", "some", 2, "some"),
        ("--dispatch", "odd", 2, "odd"),
        ("--weight-dtype", "int3", 3, "int3"),
        ("--slots-per-rank", "1", 4, "8 experts do not fit"),
        ("--redundant", "999", 4, "999 redundant"),
        ("--redundant", "-1", 3, "cannot be negative"),
        ("--ranks", "7", 3, "ranks"),
        ("--tokens-per-rank", "0", 3, "at least 1"),
        ("--time-limit", "0", 3, "must be positive"),
        ("--initial", "gone.json", 3, "gone.json"),
        ("--result", "out/r.txt", 2, ".json"),
        ("--result", "gone/r.json", 3, "does not exist"),
    ],
)
def test_bad_input(option, value, code, found, moeplace, problem, tiny):
    """One clear line on stderr, the right exit code, nothing on stdout, nothing written."""
    bad_files(tiny)
    options = dict(zip(problem[::2], problem[1::2], strict=True)) | {option: value}
    before = sorted(tiny.rglob("*"))
    done = moeplace("solve", *(x for pair in options.items() for x in pair), "-o", "out/p.json")
    assert done.exit_code == code, done.output
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    assert found in done.stderr
    assert done.stdout == ""
    assert sorted(tiny.rglob("*")) == before


def test_unknown_workload_names_the_models_that_have_one(moeplace):
    """A model without a shipped workload asks for a trace."""
    done = moeplace("solve", "--model", "mixtral-8x7b", "--hw", "h100-sxm", "--ranks", 8)
    assert done.exit_code == 3
    assert "--trace" in done.stderr
    assert "deepseek-v3" in done.stderr


def test_a_parquet_folder_is_not_loaded(build, tiny, monkeypatch):
    """A stored trace is reduced in one pass to the problem that the same trace in memory makes."""
    from moeplace.traces import StoredTrace, load_trace, save_trace

    save_trace(load_trace("trace.npz"), "stored")
    expected = [build(), build(holdout="none", phase="decode"), build(holdout="trace.npz")]
    monkeypatch.setattr(StoredTrace, "load", None)
    changes = ({}, {"holdout": "none", "phase": "decode"}, {"holdout": "stored"})
    for problem, change in zip(expected, changes, strict=True):
        found = build(trace=["stored"], **change)
        assert found.fingerprint == problem.fingerprint
        assert (found.holdout is None) == (problem.holdout is None)
        if found.holdout is not None:
            assert found.holdout.fingerprint() == problem.holdout.fingerprint()
            assert found.holdout_fraction == problem.holdout_fraction


def test_a_large_recording_is_imported_first(build, tiny, monkeypatch):
    """Above a size, recordings of other formats go through a temporary Parquet folder."""
    from moeplace.cli import token_workloads

    rng = np.random.default_rng(0)
    layers = build().model.moe_layers
    rows = [[rng.permutation(8)[:2].tolist() for _ in layers] for _ in range(40)]
    steps = [{str(n): [row[i]] for i, n in enumerate(layers)} for row in rows]
    for number in range(3):
        path = tiny / "tree" / "subject" / f"{number}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(steps[number:]))
    expected = build(trace=["tree"])
    monkeypatch.setattr(token_workloads, "LARGE_BYTES", 0)
    found = build(trace=["tree"])
    assert any("imported first" in note for note in build.notes)
    assert found.fingerprint == expected.fingerprint
    assert found.holdout.fingerprint() == expected.holdout.fingerprint()
