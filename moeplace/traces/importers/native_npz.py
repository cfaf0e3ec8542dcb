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
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (OSError, ValueError, zipfile.BadZipFile, NotImplementedError):
        return path.suffix == ".npz"
    if any("router_logits" in name for name in names):
        return False
    return path.suffix == ".npz" or any(name.endswith(".npy") for name in names)
