"""`moeplace report`: what it takes, what it refuses, and the figures."""

from __future__ import annotations

import builtins
import json
import shlex
import sys
from typing import TYPE_CHECKING

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

import moeplace
from moeplace.cli.completion import WORDS
from moeplace.cli.main import app
from moeplace.cli.report.figures import FIGURES, draw_figure
from moeplace.cli.report.gather import gather
from moeplace.cli.report.reproduce import command_of
from moeplace.errors import BackendMissingError, CheckFailedError, InputError, UsageError
from tests.cli.report.conftest import run, write_inputs

if TYPE_CHECKING:
    from pathlib import Path

    from moeplace.cli.report.gather import Gathered


def _leave(*arguments: object) -> tuple[int, str]:
    """Return exit code and error of the command as the shell sees them."""
    done = CliRunner().invoke(app, [str(argument) for argument in arguments])
    return done.exit_code, done.output


def test_writes_the_page(solved: Path, tmp_path: Path) -> None:
    """The command writes a page and says so on stderr; nothing is on stdout."""
    page = tmp_path / "page.html"
    done = CliRunner().invoke(app, ["report", str(solved), "-o", str(page), "--resolve-time", "0"])
    assert done.exit_code == 0, done.output
    assert done.stdout == ""
    assert f"wrote {page}" in done.stderr
    assert page.read_text().startswith("<!doctype html>")


@pytest.mark.parametrize("name", list(FIGURES))
def test_figures(gathered: Gathered, name: str) -> None:
    """Every figure has a title and something drawn, and takes what it says it takes."""
    axes = draw_figure(gathered, name, "eplb" if "view" in FIGURES[name][1] else "result")
    assert axes.get_title()
    assert axes.patches or axes.images or axes.lines


def test_figures_and_views_are_completed(gathered: Gathered) -> None:
    """The shell offers every figure and every view."""
    assert WORDS["figure"] == tuple(FIGURES)
    assert WORDS["view"] == tuple(view.key for view in gathered.views)


def test_figure_shows_the_numbers(gathered: Gathered) -> None:
    """The bars of the layers add up to the layers' times; the map has one square a rank."""
    axes = draw_figure(gathered, "layers")
    bars = np.array([bar.get_height() for bar in axes.patches]).reshape(3, -1).sum(axis=0)
    np.testing.assert_allclose(bars, gathered.found.score.layer_time_s * 1e6)
    axes = draw_figure(gathered, "map", layer=2)
    row = gathered.found.score.rank_load[1]
    wanted = {f"{rank}\n{x:.2f}" for rank, x in enumerate(row / row.mean())}
    assert wanted <= {text.get_text() for text in axes.texts}


@pytest.mark.parametrize(("format", "magic"), [("png", b"\x89PNG"), ("svg", b"<?xml")])
def test_figure_files(solved: Path, tmp_path: Path, format: str, magic: bytes) -> None:
    """A figure is written in the format asked for."""
    path = tmp_path / f"map.{format}"
    run("report", solved, "-o", path, "--format", format, "--figure", "map", "-q")
    assert path.read_bytes().startswith(magic)


def test_without_matplotlib(solved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without matplotlib a figure is refused with its own error, the page is not."""
    real = builtins.__import__

    def refuse(name: str, *rest: object, **more: object) -> object:
        if name.split(".")[0] == "matplotlib":
            raise ImportError(name)
        return real(name, *rest, **more)  # type: ignore[arg-type]

    for name in [name for name in sys.modules if name.split(".")[0] == "matplotlib"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(BackendMissingError, match=r"moeplace\[plot\]"):
        moeplace.write_report(solved, tmp_path / "a.png", format="png", figure="map")
    moeplace.write_report(solved, tmp_path / "a.html")


def test_refusals(solved: Path, tmp_path: Path) -> None:
    """What does not fit together is a usage error; what is damaged is named."""
    page = tmp_path / "page.html"
    for bad, error, words in (
        ({"format": "pdf"}, UsageError, "use html, png, svg"),
        ({"format": "png"}, UsageError, "needs a figure"),
        ({"figure": "map"}, UsageError, "takes no figure"),
        ({"format": "png", "figure": "mapp"}, InputError, "did you mean 'map'"),
        ({"format": "png", "figure": "map", "view": "best"}, InputError, "use contiguous, eplb"),
        ({"format": "png", "figure": "map", "layer": 9}, InputError, "layers 1 to 3"),
        ({"compare": [solved]}, InputError, "not a comparison"),
    ):
        with pytest.raises(error, match=words):
            moeplace.write_report(solved, page, **bad)
    with pytest.raises(InputError, match="give it after the result"):
        moeplace.write_report(solved.with_name("compare.json"), page)
    document = json.loads(solved.read_text())
    (tmp_path / "cut.json").write_text(json.dumps({**document, "certificate": None}))
    with pytest.raises(InputError, match="does not say what its problem was made from"):
        moeplace.write_report(tmp_path / "cut.json", page)
    del document["problem"]["eplb"]
    (tmp_path / "cut.json").write_text(json.dumps(document))
    with pytest.raises(InputError, match="damaged"):
        moeplace.write_report(tmp_path / "cut.json", page)
    assert not page.exists()


def test_false_value_is_not_reported(solved: Path, tmp_path: Path) -> None:
    """A file whose value is not that of its placement is refused."""
    document = json.loads(solved.read_text())
    document["objective"]["value"] *= 0.9
    (tmp_path / "false.json").write_text(json.dumps(document))
    with pytest.raises(CheckFailedError, match="its placement is worth"):
        gather(tmp_path / "false.json")


def test_comparison_of_another_problem(solved: Path, tmp_path: Path) -> None:
    """A comparison on another system is refused."""
    options = [*write_inputs(tmp_path), "--hw", "mesh:1x3"]
    run("compare", *options, "--solvers", "lpt", "-o", tmp_path / "other.json", "-q")
    with pytest.raises(InputError, match="another problem"):
        gather(solved, [tmp_path / "other.json"])


def test_command_line_errors(solved: Path, tmp_path: Path) -> None:
    """Figures without a name, names without a format and wrong endings leave with 2."""
    for bad in (
        ["-o", tmp_path / "a.png", "--format", "png"],
        ["-o", tmp_path / "a.html", "--figure", "map"],
        ["-o", tmp_path / "a.txt"],
    ):
        code, text = _leave("report", solved, *bad)
        assert code == 2, text


def test_command_can_be_run_again(solved: Path, tmp_path: Path) -> None:
    """The command on the page makes the same problem and value; its options exist."""
    document = json.loads(solved.read_text())
    command, note = command_of(document)
    assert command is not None
    assert note == ""
    words = shlex.split(command)
    known = {
        name
        for parameter in typer.main.get_command(app).commands["solve"].params
        for name in parameter.opts
    }
    assert {word for word in words if word.startswith("--")} <= known
    words[words.index("result.json")] = str(tmp_path / "again.json")
    run(*words[1:], "-q")
    again = json.loads((tmp_path / "again.json").read_text())
    assert again["problem"]["fingerprint"] == document["problem"]["fingerprint"]
    assert again["objective"]["value"] == document["objective"]["value"]


def test_time_limits_are_told(solved: Path) -> None:
    """The command of a search with a limit names it, and warns if it was reached."""
    document = json.loads(solved.read_text())
    document["certificate"]["inputs"]["search"] = {"time_limit": 3.0}
    document["limit"] = "time"
    command, note = command_of(document)
    assert command is not None
    assert "--time-limit 3.0" in command
    assert "time limit stopped" in note


@pytest.mark.parametrize("objective", ["balance", "copies", "hops"])
def test_other_objectives(tmp_path: Path, objective: str) -> None:
    """A result of another objective says what was minimized, loads known or tokens."""
    result = tmp_path / "result.json"
    options = [*write_inputs(tmp_path), "--hw", "h100-sxm", "--ranks", 4]
    run("solve", *options, "--objective", objective, "--solver", "contiguous",
        "--result", result, "-q")  # fmt: skip
    text = moeplace.write_report(result, tmp_path / "page.html").read_text()
    assert f"What was minimized is {objective}" in text


def test_results_in_memory_and_loads_alone(tmp_path: Path) -> None:
    """A result from Python has a report without a command; loads alone have no heat map."""
    model = moeplace.load_model("deepseek-v2-lite").replace(moe_layers=(1, 2), num_layers=3)
    load = np.random.default_rng(0).integers(1, 50, (2, 64))
    problem = moeplace.make_problem(
        model,
        moeplace.load_system("h100-sxm", 16),
        moeplace.Workload.from_loads(load, layer_ids=(1, 2)),
        dedup="none",
        phase="decode",
    )
    result = moeplace.solve(problem, "lpt")
    text = moeplace.write_report(result, tmp_path / "page.html").read_text()
    assert "It was made in Python and does not name its inputs." in text
    assert "The workload knows loads only" in text
    with pytest.raises(InputError, match="loads only"):
        draw_figure(gather(result), "together")
