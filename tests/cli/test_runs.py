"""Run folders and rerun: what is kept, what is compared, what is refused."""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from dataclasses import replace
from pathlib import Path

import pytest
import typer.main

import moeplace as package
from moeplace.cli.config import command_options
from moeplace.cli.main import app
from moeplace.cli.runs.differences import run_differences
from moeplace.cli.runs.readings import read_readings
from moeplace.cli.runs.record import FILLED, KEPT, OF_THE_RUN, STORES
from moeplace.formulations.exact.milp import model as milp

RECORDED = [
    words for words, known in command_options(typer.main.get_command(app)).items()
    if "run-dir" in known
]  # fmt: skip
INPUTS = {"current", "initial"}  # options of recorded commands that name a file to read


@pytest.fixture
def solved(moeplace, problem):
    """Return the folder of a small run."""
    done = moeplace("solve", *problem, "--solver", "local-search", "--run-dir", "run")
    assert done.exit_code == 0, done.stderr
    return Path("run")


def manifest(run):
    return json.loads((run / "manifest.json").read_text())


def sha256(path):
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def test_the_commands_that_keep_runs():
    """Whatever searches or measures keeps its run; every path is an input or an output."""
    wanted = {("solve",), ("compare",), ("replay",), ("wafer",), ("sweep",), ("evaluate",)}
    assert wanted | {("instance", "solve")} <= set(RECORDED)
    options = command_options(typer.main.get_command(app))
    known = {*KEPT, *STORES, *OF_THE_RUN} | INPUTS
    for words in RECORDED:
        paths = {option.name for option in options[words].values() if option.kind == "path"}
        assert paths <= known, words
        names = {option.name for option in options[words].values()}
        assert set(FILLED.get(words, ())) <= names


def test_what_a_folder_holds(solved, tiny):
    """Outputs and inputs with their hashes, options with their origin, versions and the seed."""
    found = manifest(solved)
    assert found["schema"] == "moeplace.run/1"
    assert found["command"] == ["solve"]
    assert found["command_line"].startswith("moeplace solve --model tiny.yaml")
    assert found["options"]["solver"] == {"value": "local-search", "origin": "command line"}
    assert found["options"]["seed"] == {"value": 0, "origin": "built-in"}
    assert found["seed"] == 0
    assert found["exit_code"] == 0
    assert found["repeatable"] == {"holds": True, "why": None}
    assert found["versions"]["moeplace"] == package.__version__
    assert {"python", "numpy", "numba", "ortools"} <= found["versions"].keys()
    inputs = {one["path"]: one["sha256"] for one in found["inputs"]}
    assert inputs["tiny.yaml"] == sha256("tiny.yaml")
    assert inputs["trace.npz"] == sha256("trace.npz")
    names = {one["path"] for one in found["outputs"]}
    assert names == {"output.json", "output.txt", "placement.json", "result.json"}
    assert {path.name for path in solved.iterdir()} == names | {"manifest.json"}
    for one in found["outputs"]:
        assert one["sha256"] == sha256(solved / one["path"])
    assert "moeplace (local-search)" in (solved / "output.txt").read_text()
    assert json.loads((solved / "result.json").read_text())["certificate"]


def test_shipped_data_is_an_input(tiny):
    """Model, system and workload files that come with the package are hashed too."""
    import subprocess
    import sys

    line = "solve --model deepseek-v2-lite --hw mesh:2x2 --solver contiguous --run-dir run -q"
    code = f"from moeplace.cli.main import app; app({line.split()!r})"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=tiny, capture_output=True)
    folder = Path(package.__file__).parent
    inputs = {one["path"]: one["sha256"] for one in manifest(tiny / "run")["inputs"]}
    for name in (
        "models/catalog/deepseek-v2-lite.yaml",
        "hwmodels/systems/wafer-dojo-5x5.yaml",
        "traces/data/deepseek_v2_lite_excerpt.npz",
    ):
        assert inputs[f"moeplace:{name}"] == sha256(folder / name)
    assert not [name for name in inputs if name.endswith((".py", ".nbi", ".nbc"))]


def test_stdout_is_the_same(moeplace, problem):
    """What a command prints does not change when it is kept."""
    line = ["solve", *problem, "--solver", "lpt", "--format", "csv"]
    plain = moeplace(*line).stdout
    kept = moeplace(*line, "--run-dir", "run").stdout
    assert kept == plain
    assert Path("run/output.csv").read_text() == plain


def test_rerun_is_identical(moeplace, solved):
    """Placement and documents come out as before, whatever files and variables say now."""
    Path("moeplace.toml").write_text('[solve]\nsolver = "random"\nseed = 5\n')
    done = moeplace("rerun", "run", "-o", "again", "--format", "json")
    assert done.exit_code == 0, done.stderr
    answer = json.loads(done.stdout)
    assert answer["identical"] is True
    assert answer["compared"] == ["output.json", "placement.json", "result.json"]
    assert sha256("again/placement.json") == sha256("run/placement.json")
    assert manifest(Path("again"))["options"]["solver"]["origin"] == "run"
    table = moeplace("rerun", "run")
    assert table.stdout.startswith("identical: output.json, placement.json, result.json\n")


def test_rerun_finds_a_difference(moeplace, solved):
    """A placement or a number that is not what comes out is named, with exit code 7."""
    original = (solved / "placement.json").read_text()
    (solved / "placement.json").write_text(original.replace("-1", "-2", 1) + " ")
    document = json.loads((solved / "output.json").read_text())
    document["score"]["step_time_s"] *= 1.0000001
    document["runtime_s"] = 99
    (solved / "output.json").write_text(json.dumps(document))
    done = moeplace("rerun", "run")
    assert done.exit_code == 7
    assert "placement.json: other bytes, from byte" in done.stdout
    assert "output.json: score.step_time_s was" in done.stdout
    assert "runtime_s was" not in done.stdout


def test_rerun_checks_inputs_first(moeplace, solved):
    """A changed or missing input leaves with 7 before anything runs; --ignore-changes goes on."""
    text = Path("tiny.yaml").read_text()
    Path("tiny.yaml").write_text(text + "\n# a comment\n")
    done = moeplace("rerun", "run", "-o", "again")
    assert done.exit_code == 7
    assert "tiny.yaml has changed" in done.stderr
    assert not Path("again").exists()
    done = moeplace("rerun", "run", "--ignore-changes", "--format", "json")
    answer = json.loads(done.stdout)
    assert answer["changed_inputs"] == ["tiny.yaml has changed"]
    [text] = answer["differences"]  # the certificate names the file's hash
    assert text.startswith("result.json: certificate.inputs.files.tiny.yaml was ")
    Path("tiny.yaml").unlink()
    done = moeplace("rerun", "run")
    assert done.exit_code == 7
    assert "tiny.yaml is missing" in done.stderr


def test_rerun_writes_nothing_elsewhere(moeplace, problem):
    """Outputs that the run wrote elsewhere are kept in the folder and not written over."""
    moeplace("solve", *problem, "--solver", "lpt", "-o", "p.npz", "--run-dir", "run")
    assert sha256("run/placement.npz") == sha256("p.npz")
    Path("p.npz").write_bytes(b"mine")
    assert moeplace("rerun", "run").exit_code == 0
    assert Path("p.npz").read_bytes() == b"mine"


def test_compare_again(moeplace, problem):
    """A comparison comes out as before but for its times; the store is not asked."""
    line = ["compare", *problem, "--solvers", "lpt,random,auto", "--seeds", "2"]
    assert moeplace(*line, "--store", "store", "--run-dir", "run").exit_code == 0
    shutil.rmtree("store")
    done = moeplace("rerun", "run")
    assert done.exit_code == 0, done.stderr
    assert done.stdout.startswith("identical: output.json, runs.json\n")
    assert not Path("store").exists()


def test_a_time_limit_is_played_back(moeplace, problem, monkeypatch):
    """A run that the clock ended comes out bit by bit, though time passes otherwise now."""
    line = ["solve", *problem, "--objective", "copies", "--redundant", "4", "--max-load", "1.3"]
    moeplace(*line, "--time-limit", "0.3", "--run-dir", "run")
    found = manifest(Path("run"))
    assert found["repeatable"] == {"holds": True, "why": None}
    assert found["clock"] == {
        "path": "clock.npz",
        "sha256": sha256("run/clock.npz"),
        "bytes": Path("run/clock.npz").stat().st_size,
    }
    kept = read_readings(Path("run/clock.npz"))
    assert sum(map(len, kept.streams.values())) > 10
    real = time.monotonic
    with monkeypatch.context() as patched:
        patched.setattr(time, "monotonic", lambda: 1e6 + 50 * (real() - 1e3))
        done = moeplace("rerun", "run", "-o", "again")
    assert done.exit_code == 0, done.stdout + done.stderr
    assert sha256("again/clock.npz") == sha256("run/clock.npz")
    assert moeplace("rerun", "again").exit_code == 0
    Path("run/clock.npz").write_bytes(b"")
    done = moeplace("rerun", "run")
    assert (done.exit_code, "clock.npz has changed" in done.stderr) == (7, True)


def test_a_backend_with_its_own_clock_is_told(moeplace, problem, monkeypatch):
    """What a MILP solver stopped by itself cannot be played back; the manifest says so."""
    real = milp.minimize

    def late(model, hint, seconds, seed):
        return replace(real(model, hint, seconds, seed), proven=False)

    monkeypatch.setattr(milp, "minimize", late)
    line = ["solve", *problem, "--solver", "exact-milp", "--objective", "copies"]
    moeplace(*line, "--time-limit", "5", "--run-dir", "run")
    why = "exact-milp stopped at its own time limit"
    assert manifest(Path("run"))["repeatable"] == {"holds": False, "why": why}


@pytest.mark.parametrize(
    "line",
    [
        "replay --model tiny.yaml --hw mesh:2x2 --drift default --windows 3 --policy eplb-every",
        "sweep --model deepseek-v2-lite --hw mesh:2x2 --layers 1",
        "wafer --model deepseek-v2-lite --batch 32 --steps 1 --layers 1 --strategies base,ep",
        "instance solve tiny-copies --solver lpt",
    ],
)
def test_other_commands_again(moeplace, line):
    """Every command that keeps its run gives the same again."""
    done = moeplace(*line.split(), "--run-dir", "run", "-q")
    assert done.exit_code == 0, done.stderr
    done = moeplace("rerun", "run", "-q", "--format", "json")
    assert done.exit_code == 0, done.stderr
    assert "output.json" in json.loads(done.stdout)["compared"]


def test_arguments_are_given_again(moeplace, solved):
    """A command with an argument finds it again."""
    moeplace("evaluate", "run/placement.json", "--phase", "decode", "--run-dir", "other")
    found = manifest(Path("other"))
    assert found["arguments"] == {"placement": "run/placement.json"}
    assert "run/placement.json" in {one["path"] for one in found["inputs"]}
    assert moeplace("rerun", "other").exit_code == 0


def test_a_folder_is_not_overwritten(moeplace, solved, problem):
    """A folder with a run, another command's run or other files is refused; --force replaces."""
    line = ["solve", *problem, "--solver", "lpt", "--run-dir"]
    before = sha256("run/manifest.json")
    done = moeplace(*line, "run")
    assert (done.exit_code, sha256("run/manifest.json")) == (3, before)
    assert "--force" in done.stderr
    assert moeplace(*line, "run", "--force").exit_code == 0
    assert manifest(solved)["options"]["solver"]["value"] == "lpt"
    done = moeplace("wafer", "--model", "deepseek-v2-lite", "--run-dir", "run", "--force")
    assert "holds a run of `moeplace solve`" in done.stderr
    done = moeplace(*line, ".", "--force")
    assert (done.exit_code, Path("tiny.yaml").exists()) == (3, True)


def test_nothing_stays_of_a_failure(moeplace, problem):
    """A command that fails leaves no folder."""
    done = moeplace("solve", *problem, "--solver", "nobody", "--run-dir", "run")
    assert done.exit_code == 3
    assert not Path("run").exists()


def test_not_a_run(moeplace, tiny):
    """Another folder, a broken or a foreign manifest are refused."""
    assert "no run folder" in moeplace("rerun", "out").stderr
    for text, said in (
        ("{", "not JSON"),
        ('{"schema": "moeplace.run/9"}', "schema is 'moeplace.run/9'"),
        ('{"schema": "moeplace.run/1"}', "is missing"),
    ):
        (tiny / "out" / "manifest.json").write_text(text)
        done = moeplace("rerun", "out")
        assert done.exit_code == 3
        assert said in done.stderr


def test_differences_of_documents(tmp_path):
    """Times and paths do not count; anything else does, with its place."""
    listed = {"exit_code": 0, "outputs": [{"path": "output.json"}]}

    def difference(old, new):
        for name, document in (("old", old), ("new", new)):
            (tmp_path / name).mkdir(exist_ok=True)
            (tmp_path / name / "output.json").write_text(json.dumps(document))
        return run_differences(tmp_path / "old", listed, tmp_path / "new", listed)

    same = {"rows": [{"value": 1.0, "runtime_s": 1}], "placement": "a"}
    assert difference(same, {"rows": [{"value": 1.0, "runtime_s": 2}], "placement": "b"}) == []
    found = difference(same, {"rows": [{"value": 2.0, "runtime_s": 1}], "placement": "a"})
    assert found == ["output.json: rows.0.value was 1.0, is 2.0"]
    assert difference({"a": 1}, {}) == ["output.json: a is gone"]
    assert difference({"a": [1]}, {"a": [1, 2]}) == ["output.json: a was 1 entries, is 2 entries"]
    assert run_differences(
        tmp_path / "old", {**listed, "exit_code": 4}, tmp_path / "old", listed
    ) == ["exit code 4, now 0"]
