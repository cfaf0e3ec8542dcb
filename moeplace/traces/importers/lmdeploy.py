"""LMDeploy's expert statistics: a bare JSON table [hidden layers][experts] of loads."""

from __future__ import annotations

from typing import TYPE_CHECKING

from moeplace.traces.importers.json_text import head
from moeplace.traces.importers.sglang_counts import read

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["read", "recognizes"]


def recognizes(path: Path) -> bool:
    """Tell whether it starts as a table of numbers."""
    return path.is_file() and head(path).startswith("[[")
