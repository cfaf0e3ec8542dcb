from __future__ import annotations

import json

from typer.testing import CliRunner

from moeplace.cli.main import app

ASK = ["wafer", "--model", "deepseek-v2-lite", "--hw", "mesh:2x3", "--batch", "256"]
SIZE = ["--layers", "1", "--steps", "2"]


def test_document() -> None:
    """The schema's keys, one row per strategy, the same every time."""
    first, second = (CliRunner().invoke(app, [*ASK, *SIZE, "--format", "json"]) for _ in range(2))
    document = json.loads(first.stdout)
    assert document["schema"] == "moeplace.wafer/1"
    names = [row["strategy"] for row in document["rows"]]
    assert names == ["base", "ep", "pred", "allo", "allo+pred", "moeplace"]
    keys = {"strategy", "throughput_tokens_per_s", "hops", "hbm_bytes", "d2d_bytes"}
    assert all(keys <= set(row) for row in document["rows"])
    assert first.stdout == second.stdout


def test_table_and_choice_of_strategies() -> None:
    """Only what was asked for; without Base there is nothing to compare with."""
    found = CliRunner().invoke(app, [*ASK, *SIZE, "--strategies", "ep,moeplace", "--multicast"])
    assert found.exit_code == 0
    assert "moeplace" in found.stdout
    assert "allo" not in found.stdout


def test_says_what_does_not_fit() -> None:
    """Kimi-K2 at two bytes."""
    ask = ["wafer", "-m", "kimi-k2", "--batch", "32", "--strategies", "ep", *SIZE]
    found = CliRunner().invoke(app, ask)
    assert found.exit_code == 0
    assert "does not fit" in found.stderr
    assert "--weight-dtype fp8" in found.stderr
