"""The Parquet files and folders of this package."""

from __future__ import annotations

from typing import TYPE_CHECKING

from moeplace.traces.parquet import META, is_native
from moeplace.traces.parquet import read_parquet as read

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["read", "recognizes"]


def recognizes(path: Path) -> bool:
    """Tell whether it is a trace folder, or a Parquet file that says so."""
    if path.is_dir():
        return (path / META).is_file() and any(path.glob("*.parquet"))
    try:
        with path.open("rb") as file:
            if file.read(4) != b"PAR1":
                return path.suffix == ".parquet" and path.is_file()
    except OSError:
        return False
    return is_native(path)
