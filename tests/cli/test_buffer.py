from __future__ import annotations

import csv
import io
import json
from typing import TYPE_CHECKING

import pytest

from moeplace.replay.buffering import CACHE_POLICIES

if TYPE_CHECKING:
    from collections.abc import Callable

    from typer.testing import Result

GIVEN = ["buffer", "--model", "tiny.yaml", "--hw", "mesh:2x2", "--trace", "trace.npz", "-q"]


def test_json(moeplace: Callable[..., Result]) -> None:
    """Rows for every rule and size, and a recommendation within the budget."""
    result = moeplace(*GIVEN, "--batch-tokens", 4, "--memory-GiB", 0.01, "--format", "json")
    assert result.exit_code == 0
    document = json.loads(result.stdout)
    rate = {(row["policy"], row["cache"]): row["miss_rate"] for row in document["rows"]}
    assert len(rate) == len(CACHE_POLICIES) * 2
    assert all(rate["belady", size] <= value for (_, size), value in rate.items())
    assert document["advice"]["memory_GiB"] <= document["advice"]["budget_GiB"]
    assert document["batches"] == 100


def test_balances_are_reported_on_the_second_half(moeplace: Callable[..., Result]) -> None:
    """With a fitted balance half of the batches are reported, for all balances."""
    result = moeplace(
        *GIVEN,
        "--batch-tokens",
        4,
        "--policy",
        "lru",
        "--balance",
        "contiguous",
        "--balance",
        "anti-correlation",
        "--format",
        "json",
    )
    document = json.loads(result.stdout)
    assert document["batches"] == 50
    assert [entry["balance"] for entry in document["balances"]] == [
        "contiguous",
        "anti-correlation",
    ]
    assert all(0.25 <= entry["avg_max_load"] <= entry["max_load"] for entry in document["balances"])


def test_table_and_csv(moeplace: Callable[..., Result]) -> None:
    """The table ends with advice; CSV has the rows."""
    shown = moeplace(*GIVEN, "--policy", "lru", "--policy", "belady")
    assert "Hold 2 experts of every layer, lru" in " ".join(shown.stdout.split())
    text = moeplace(*GIVEN, "--policy", "lru", "--format", "csv").stdout
    assert [row["cache"] for row in csv.DictReader(io.StringIO(text))] == ["1", "2"]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--policy", "mru"], 3, "mru"),
        (["--host-link", "pcie9"], 3, "pcie9"),
        (["--keep", "0"], 2, "--keep"),
        (["--phase", "x"], 2, "--phase"),
        (["--batch-tokens", "500"], 3, "fewer than one batch"),
        (["--memory-GiB", "0.0001"], 4, "budget"),
        (["--trace", "loads.json"], 3, "holds loads"),
    ],
)
def test_errors(
    moeplace: Callable[..., Result], arguments: list[str], code: int, message: str
) -> None:
    """What is wrong is named, with its exit code."""
    result = moeplace(*GIVEN, *arguments)
    assert result.exit_code == code
    assert message in result.stderr
