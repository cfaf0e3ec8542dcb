"""Which files a command reads, seen where Python opens them."""

from __future__ import annotations

import os
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

PACKAGE = Path(__file__).resolve().parents[2]
CODE = {".py", ".pyc", ".pyd", ".so", ".dll", ".dylib", ".pth", ".nbi", ".nbc"}
MACHINE = ("/proc", "/sys", "/dev", "/etc", "/usr", "/lib", "/bin", "/run")

_listening: list[set[str]] = []  # the sets of the blocks that are open
_hooked: list[bool] = []


@contextmanager
def opened_files() -> Iterator[set[str]]:
    """Collect the paths that are opened for reading while the block runs, by whatever thread.

    What libraries in C open by themselves (Parquet) is not seen.
    """
    if not _hooked:
        sys.addaudithook(_hear)  # stays for the life of the process, silent outside of blocks
        _hooked.append(True)
    seen: set[str] = set()
    _listening.append(seen)
    try:
        yield seen
    finally:
        _listening.remove(seen)


def is_data(path: Path) -> bool:
    """Return whether a resolved path is an input and not the program, a cache or the machine."""
    if path.suffix in CODE or not path.is_file():
        return False
    if path.is_relative_to(PACKAGE):
        return "__pycache__" not in path.parts
    outside: tuple[str | Path, ...] = (*MACHINE, sys.prefix, sys.base_prefix, *_caches())
    return not any(path.is_relative_to(folder) for folder in outside)


def _caches() -> list[Path]:
    home = Path.home()
    return [home / ".cache", home / ".config", Path(os.environ.get("NUMBA_CACHE_DIR") or "/proc")]


def _hear(event: str, arguments: tuple[Any, ...]) -> None:
    if event != "open" or not _listening:
        return
    path, mode, flags = arguments
    if isinstance(path, bytes):
        path = os.fsdecode(path)
    if not isinstance(path, str) or (flags or 0) & (os.O_WRONLY | os.O_RDWR):
        return
    if mode is not None and "r" not in mode:
        return
    for seen in _listening:
        seen.add(os.path.abspath(path))
