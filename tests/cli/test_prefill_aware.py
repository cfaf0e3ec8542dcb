from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from typer.testing import Result

GIVEN = ["prefill-aware", "--model", "tiny.yaml", "--hw", "mesh:2x2", "-q"]


def test_trace_of_both_phases(moeplace: Callable[..., Result]) -> None:
    """Prefill and decode tokens of one trace; one block of rows for each batch."""
    result = moeplace(
        *GIVEN, "--trace", "trace.npz", "--batch", 64, "--batch", 4096, "--format", "json"
    )
    assert result.exit_code == 0
    document = json.loads(result.stdout)
    assert {row["batch"] for row in document["rows"]} == {64, 4096}
    names = [row["placement"] for row in document["rows"] if row["batch"] == 64]
    assert {"default", "worst", "best", "remap", "dup", "eplb", "moeplace"} <= set(names)


def test_table_with_history(moeplace: Callable[..., Result]) -> None:
    """Loads by file, a layer left out, and rows for the history."""
    result = moeplace(
        *GIVEN,
        "--prefill",
        "loads.json",
        "--decode",
        "loads.json",
        "--history",
        "loads.json",
        "--skip-layer",
        1,
        "--batch",
        64,
    )
    assert result.exit_code == 0
    assert "1 layers" in result.stdout
    assert "moeplace-history" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ([], 3, "--prefill"),
        (["--prefill", "loads.json"], 2, "belong together"),
        (["--trace", "trace.npz", "--prefill", "loads.json"], 2, "--trace, or"),
        (["--trace", "trace.npz", "--skip-layer", "1", "--skip-layer", "2"], 3, "no layer"),
    ],
)
def test_errors(
    moeplace: Callable[..., Result], arguments: list[str], code: int, message: str
) -> None:
    """What is wrong is named, with its exit code."""
    result = moeplace(*GIVEN, *arguments)
    assert result.exit_code == code
    assert message in result.stderr
