from __future__ import annotations

import io
import json
import re
import sys
import time

import pytest

from moeplace.cli.output import Output
from moeplace.cli.progress import CLEAR, Progress
from moeplace.formulations.result import Incumbent


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self):
        return True


@pytest.fixture
def hurried(monkeypatch):
    """Make progress speak at once and often."""
    monkeypatch.setattr("moeplace.cli.progress.FIRST_AFTER_S", 0.0)
    monkeypatch.setattr("moeplace.cli.progress.TICK_S", 0.001)
    monkeypatch.setattr("moeplace.cli.progress.PLAIN_EVERY_S", 0.0)


def drawn(stream) -> None:
    """Wait until something was drawn."""
    for _ in range(2000):
        if stream.getvalue():
            return
        time.sleep(0.001)
    raise AssertionError("nothing was drawn")


def test_figures_go_before_the_stage():
    """Where the line is too long the stage is shortened; best, bound and gap stay."""
    progress = Progress("a solver with a name that is far too long for one line of a terminal")
    progress.incumbent(Incumbent(1.0, 0.25, 0.2))
    assert "best 0.25 | bound 0.2 | gap 20.00% | 0 s" in progress.text()
    short = progress.text(60)
    assert 55 < len(short) <= 60
    assert short.endswith("best 0.25 | bound 0.2 | gap 20.00% | 0 s")
    assert "… | best" in short
    assert len(progress.text(20)) == 20


def test_incumbents_in_the_unit_of_the_tables():
    """A scale and a unit, and the limit beside the seconds."""
    progress = Progress("reading")
    progress.stage("auto", " µs/layer", scale=1e6 / 4, limit_s=30)
    progress.incumbent(Incumbent(1.0, 0.02, None))
    assert progress.text() == "auto | best 5,000.0 µs/layer | 0 of 30 s"
    progress.rename("auto again")
    assert "best 5,000.0" in progress.text()
    progress.stage("next")
    assert progress.text() == "next | 0 s"


def test_one_line_on_a_terminal(hurried, monkeypatch):
    """Redrawn in place, narrower than the terminal, and gone at the end."""
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setenv("TERM", "xterm")
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    with Progress("x" * 100):
        drawn(terminal)
    text = terminal.getvalue()
    assert "\n" not in text
    assert text.endswith(CLEAR)
    frames = [frame.removesuffix("\x1b[K") for frame in text.split("\r") if frame != "\x1b[K"]
    assert max(len(frame) for frame in frames) == 39


@pytest.mark.parametrize("term", ["dumb", "xterm"])
def test_plain_lines_elsewhere(term, hurried, monkeypatch):
    """No control character where nobody looks, or the terminal has none."""
    stream = Terminal() if term == "dumb" else io.StringIO()
    monkeypatch.setenv("TERM", term)
    monkeypatch.setattr(sys, "stderr", stream)
    with Progress("reading"):
        drawn(stream)
    assert re.fullmatch(r"(reading \| \d+ s\n)+", stream.getvalue())


def test_notes_have_a_line_of_their_own(hurried, monkeypatch):
    """A note while the line is drawn clears it first."""
    monkeypatch.setenv("TERM", "xterm")
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    with Progress("reading"):
        drawn(terminal)
        Output().note("look")
    before, found, after = terminal.getvalue().partition("note: look")
    assert found
    assert before.endswith("\r\x1b[K")
    assert after.startswith("\n")


def test_compare_shows_the_run_and_its_incumbent(moeplace, problem, hurried):
    """Which run, its best value with bound and gap."""
    done = moeplace("compare", *problem, "--solvers", "lpt,local-search", "--format", "json")
    json.loads(done.stdout)
    assert re.search(r"local-search, run 2 \| best .* \| bound .* \| gap", done.stderr)


def test_sweep_keeps_the_points_it_has(moeplace, monkeypatch):
    """Ctrl-C shows the points that were placed and leaves with 130."""

    def two_points(sweep, on_point):
        for redundant in (0, 4):
            on_point(
                {name: 1 for name in ("ranks", "tokens_per_rank", "link_GBps", "layer_us")}
                | {name: 1.0 for name in ("dispatch_us", "compute_us", "combine_us")}
                | {"model": "m", "hw": "h", "phase": "prefill", "redundant": redundant}
                | {"nic_GBps": None, "status": "ok", "balancedness": 1.0, "reason": ""}
            )
        raise KeyboardInterrupt

    monkeypatch.setattr("moeplace.formulations.sweep.run_sweep", two_points)
    done = moeplace(
        "sweep", "--model", "m", "--hw", "h", "--redundant", "0,4,8", "--format", "json"
    )
    assert done.exit_code == 130
    assert [row["redundant"] for row in json.loads(done.stdout)] == [0, 4]
    assert "interrupted: 2 of 3 points" in done.stderr


def test_disaggregate_keeps_the_best(moeplace, tiny, monkeypatch):
    """Ctrl-C in prefill shows maps of both phases and leaves with 130."""
    from moeplace.formulations.heuristics.simple import contiguous

    def interrupted(problem, run, initial):
        run.report(contiguous(problem, run, None).placement)
        raise KeyboardInterrupt

    monkeypatch.setattr("moeplace.formulations.solve.load_solver", lambda name: interrupted)
    words = ["disaggregate", "--model", "tiny.yaml", "--hw", "mesh:2x2", "--trace", "loads.json"]
    done = moeplace(*words, "--format", "json", "-o", "out/x")
    assert done.exit_code == 130
    assert {row["phase"] for row in json.loads(done.stdout)["rows"]} == {"prefill", "decode"}
    assert (tiny / "out/x-decode.json").is_file()
