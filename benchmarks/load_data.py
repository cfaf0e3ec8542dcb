"""Measured expert loads, outputs of EPLB and makespan instances, where they are there."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.data import data_file

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

DENSE = 3  # DeepSeek-V3's first layers have no experts
NOT_THERE = "Left out: the data is not there. `MOEPLACE_DATA` names the folder that holds it."


def measured_loads() -> dict[str, NDArray[np.float64]]:
    """Return (layers, experts) loads of DeepSeek-V3 by file, without the dense layers."""
    folder = data_file("deepseek_v3_loads")
    if folder is None:
        return {}
    return {file.stem: _counts(file) for file in sorted(folder.glob("*.json"))}


def golden_cases() -> list[dict[str, Any]]:
    """Return what the genuine EPLB gave: arguments, balancedness and seconds of each case."""
    file = data_file("eplb_golden.json")
    cases: list[dict[str, Any]] = [] if file is None else json.loads(file.read_text())["cases"]
    return cases


def makespan_instances() -> dict[str, tuple[int, NDArray[np.float64]]]:
    """Return (machines, processing times) by name."""
    folder = data_file("makespan")
    found = {}
    for file in sorted(folder.glob("*.txt")) if folder else ():
        numbers = np.array(file.read_text().split(), np.float64)
        found[file.stem] = int(numbers[0]), numbers[2:]
    return found


def _counts(file: Path) -> NDArray[np.float64]:
    read = json.loads(file.read_text())
    return np.array(read["logical_count"] if isinstance(read, dict) else read, np.float64)[DENSE:]
