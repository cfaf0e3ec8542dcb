"""The npz files of this package and its relatives."""

from __future__ import annotations

from typing import TYPE_CHECKING

from moeplace.traces.archives import member_names
from moeplace.traces.npz import read_npz_trace as read

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["read", "recognizes"]


def recognizes(path: Path) -> bool:
    """Tell whether it is called .npz or is a zip archive of arrays."""
    if not path.is_file():
        return False
    names = member_names(path)
    if names is None:
        return path.suffix == ".npz"
    if any("router_logits" in name for name in names):
        return False
    return path.suffix == ".npz" or any(name.endswith(".npy") for name in names)
