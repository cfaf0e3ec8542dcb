"""The Parquet files and folders of this package."""

from __future__ import annotations

from typing import TYPE_CHECKING

from moeplace.traces.parquet import META
from moeplace.traces.parquet import read_parquet as read

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["read", "recognizes"]


def recognizes(path: Path) -> bool:
    """Tell whether it is a trace folder, or a file that is Parquet by its name or first bytes."""
    if path.is_dir():
        return (path / META).is_file() and any(path.glob("*.parquet"))
    if path.suffix == ".parquet":
        return path.is_file()
    try:
        with path.open("rb") as file:
            return file.read(4) == b"PAR1"
    except OSError:
        return False
