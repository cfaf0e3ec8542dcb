"""Where data too large to ship lies: the folder MOEPLACE_DATA, else ../shared/data."""

from __future__ import annotations

import os
from pathlib import Path


def data_file(name: str) -> Path | None:
    """Return a file of the data folder, None where it is not there."""
    beside = Path(__file__).resolve().parents[1] / ".." / "shared" / "data"
    path = Path(os.environ.get("MOEPLACE_DATA", beside)) / name
    return path.resolve() if path.exists() else None
