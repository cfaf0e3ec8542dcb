"""The npz files of this package and its relatives."""

from __future__ import annotations

import zipfile
from typing import TYPE_CHECKING

from moeplace.traces.npz import read_npz_trace as read

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["read", "recognizes"]


def recognizes(path: Path) -> bool:
    """Tell whether it is called .npz or is a zip archive of arrays."""
    if not path.is_file():
        return False
    if path.suffix == ".npz":
        return True
    try:
        with zipfile.ZipFile(path) as archive:
            return any(name.endswith(".npy") for name in archive.namelist())
    except (OSError, ValueError, zipfile.BadZipFile, NotImplementedError):
        return False
