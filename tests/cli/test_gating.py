from __future__ import annotations

import csv
import io
import json
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from typer.testing import Result


def test_paper_table(moeplace: Callable[..., Result]) -> None:
    """Without a model the paper's workloads are shown beside its figures."""
    result = moeplace("gating", "--format", "json")
    assert result.exit_code == 0
    rows = json.loads(result.stdout)["rows"]
    assert [row["workload"] for row in rows[:3]] == ["LM", "MT encoder", "MT decoder"]
    assert {row["nodes"] for row in rows} == {1, 2, 4}
    assert rows[0]["waste"] == pytest.approx(12.8)
    assert rows[1]["waste"] == 64
    assert "12.8" in moeplace("gating").stdout


def test_own_model(moeplace: Callable[..., Result]) -> None:
    """A model of one's own: one row for each kind of gating, in every format."""
    given = ["gating", "--model", "tiny.yaml", "--capacity", "1", "--hw", "mesh:2x2"]
    rows = list(csv.DictReader(io.StringIO(moeplace(*given, "--format", "csv").stdout)))
    assert [row["gating"] for row in rows] == ["static", "sparse", "dynamic"]
    assert float(rows[0]["waste"]) == 4  # 8 experts, capacity 1, top-2
    assert float(rows[2]["waste"]) == pytest.approx(1)
    table = moeplace(*given)
    assert table.exit_code == 0
    assert "dynamic" in table.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--model", "tiny.yaml"], "--capacity"),
        (["--capacity", "1"], "need --model"),
        (["--model", "tiny.yaml", "--capacity", "1", "--phase", "x"], "--phase"),
    ],
)
def test_usage(moeplace: Callable[..., Result], arguments: list[str], message: str) -> None:
    """What is missing is named."""
    result = moeplace("gating", *arguments)
    assert result.exit_code == 2
    assert message in result.stderr
