from __future__ import annotations

import csv
import io
import json
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from typer.testing import Result

GIVEN = ("--model", "mixtral-8x7b", "--hw", "h100-sxm", "--ranks", "4", "--redundant", "4")
DRIFT = ("--drift", "hot_share=0.4,hot_experts=2,memory=5", "--windows", "6")


def test_replay_in_every_format(moeplace: Callable[..., Result]) -> None:
    """Policies side by side: the same rows as a table, JSON and CSV."""
    given = ["replay", *GIVEN, *DRIFT, "--policy", "static,flexmoe,oracle", "--steps", "1000"]
    document = json.loads(moeplace(*given, "--format", "json", "--series").stdout)
    assert document["schema"] == "moeplace.replay/1"
    assert [row["policy"] for row in document["rows"]] == ["static", "flexmoe", "oracle"]
    assert len(document["series"]["flexmoe"]["balance_ratio"]) == 6
    rows = list(csv.DictReader(io.StringIO(moeplace(*given, "--format", "csv").stdout)))
    assert float(rows[1]["total_s"]) == document["rows"][1]["total_s"]
    table = moeplace(*given)
    assert table.exit_code == 0
    assert "independent" in table.stdout
    assert "flexmoe" in table.stdout


def test_every_reaches_policies_that_count(moeplace: Callable[..., Result]) -> None:
    """--every sets the interval where none is given with the policy."""
    result = moeplace(
        *("replay", *GIVEN, *DRIFT, "--every", "2", "--format", "json"),
        *("--policy", "static,eplb-every,moeplace-every:every=3"),
    )
    names = [row["policy"] for row in json.loads(result.stdout)["rows"]]
    assert names == ["static", "eplb-every:every=2", "moeplace-every:every=3"]


def test_recordings_one_after_the_other(moeplace: Callable[..., Result]) -> None:
    """Load files follow one another; balancedness is told for each."""
    result = moeplace(
        *("replay", "--model", "deepseek-v3", "--hw", "h100-sxm", "--no-regret"),
        *("-t", "deepseek-v3/prefill_in4096", "-t", "deepseek-v3/decode_in500out1500"),
        *("--fit", "deepseek-v3/prefill_in4096", "--redundant", "32", "--format", "json"),
        *("--policy", "static:start=eplb-global"),
    )
    labels = json.loads(result.stdout)["labels"]
    assert labels[0]["balancedness"] > 0.98
    assert labels[1]["balancedness"] < 0.85


def test_advice(moeplace: Callable[..., Result]) -> None:
    """How long a map stays good, in words and as rows by age."""
    given = ["replay", *GIVEN, "--drift", "hot_share=0.4,hot_experts=2", "--windows", "9"]
    document = json.loads(moeplace(*given, "--advise-horizon", "--format", "json").stdout)
    assert [row["age"] for row in document["rows"]] == [0, 1, 2, 4, 8]
    assert "windows" in moeplace(*given, "--advise-horizon").stdout


def test_policies_are_listed(moeplace: Callable[..., Result]) -> None:
    """--list needs neither model nor system."""
    result = moeplace("replay", "--list", "--format", "json")
    names = [row["policy"] for row in json.loads(result.stdout)]
    assert {"static", "flexmoe", "fastermoe-shadowing", "symi", "moeplace-triggered"} <= set(names)


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        (("--policy", "flexmo"), 3, "did you mean"),
        (("--drift", "heat=3"), 2, "NAME=VALUE"),
        (("--migration", "later", *DRIFT), 2, "migration"),
        (("--estimate", "mean", *DRIFT), 2, "window:N"),
        ((), 3, "nothing is shipped"),
    ],
)
def test_mistakes(
    moeplace: Callable[..., Result], options: tuple[str, ...], code: int, words: str
) -> None:
    """What is wrong is said in one line with its exit code."""
    result = moeplace("replay", *GIVEN, *options)
    assert result.exit_code == code
    assert words in result.stderr


def test_maps_of_both_phases_and_the_way_between(
    moeplace: Callable[..., Result], tmp_path: Path
) -> None:
    """Two maps from one set of statistics, and a checked schedule from one to the other."""
    prefix = str(tmp_path / "pools")
    result = moeplace(
        *("disaggregate", "--model", "deepseek-v2-lite", "--hw", "h100-sxm"),
        *("--prefill-ranks", "8", "--decode-ranks", "8", "--prefill-redundant", "8"),
        *("--decode-redundant", "8", "--solver", "lpt", "-o", prefix, "--format", "json"),
    )
    assert result.exit_code == 0, result.stderr
    rows = json.loads(result.stdout)["rows"]
    assert [(row["phase"], row["map"]) for row in rows[:2]] == [
        ("prefill", "prefill"),
        ("prefill", "decode"),
    ]
    solved = tmp_path / "contiguous.json"
    moeplace(
        *("solve", "--model", "deepseek-v2-lite", "--hw", "h100-sxm", "--ranks", "8", "-q"),
        *("--redundant", "8", "--solver", "contiguous", "-o", str(solved)),
    )
    plan = moeplace(
        *("plan", str(solved), f"{prefix}-prefill.json", "--model", "deepseek-v2-lite"),
        *("--hw", "h100-sxm", "-o", str(tmp_path / "plan.json")),
    )
    assert plan.exit_code == 0, plan.stderr
    assert "checked" in plan.stdout
    document = json.loads((tmp_path / "plan.json").read_text())
    assert document["copies"] == sum(len(part["copies"]) for part in document["rounds"]) > 0
    assert document["seconds"] > 0


def test_picture(moeplace: Callable[..., Result], tmp_path: Path) -> None:
    """--plot writes a picture."""
    pytest.importorskip("matplotlib")
    target = tmp_path / "replay.png"
    result = moeplace(
        "replay", *GIVEN, *DRIFT, "--policy", "static,oracle", "--plot", str(target), "--no-regret"
    )
    assert result.exit_code == 0
    assert target.read_bytes()[:4] == b"\x89PNG"
