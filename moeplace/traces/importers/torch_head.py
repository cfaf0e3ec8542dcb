"""A look at the start of a file of `torch.save`: which words it holds."""

from __future__ import annotations

from typing import TYPE_CHECKING

from moeplace.errors import InputError
from moeplace.traces.archives import open_archive
from moeplace.traces.torch_zip import looks_like_torch

if TYPE_CHECKING:
    from pathlib import Path

HEAD_BYTES = 1 << 16


def mentions(path: Path, word: str) -> bool:
    """Tell whether the first bytes of the pickle hold a word; never raises."""
    return word.encode() in pickle_head(path)


def pickle_head(path: Path) -> bytes:
    """Return the first bytes of the pickle of a file, nothing if it is no such file."""
    if not path.is_file() or not looks_like_torch(path):
        return b""
    try:
        with open_archive(path) as archive:
            for name in archive.namelist():
                if name == "data.pkl" or name.endswith("/data.pkl"):
                    with archive.open(name) as file:
                        return file.read(HEAD_BYTES)
    except (InputError, ValueError, EOFError):
        pass
    return b""
