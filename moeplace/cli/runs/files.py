"""Files by their content."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from moeplace.cli.runs.opened import PACKAGE

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

SHIPPED = "moeplace:"  # begins the path of a file that comes with the package


def sha256(path: Path) -> str:
    """Return the hash of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def described(path: Path, shown: str) -> dict[str, Any]:
    """Return a file as a manifest lists it."""
    return {"path": shown, "sha256": sha256(path), "bytes": path.stat().st_size}


def shown_path(path: Path, folder: Path) -> str:
    """Return a resolved path as a manifest writes it: shipped, below `folder`, or absolute."""
    if path.is_relative_to(PACKAGE):
        return SHIPPED + path.relative_to(PACKAGE).as_posix()
    return str(path.relative_to(folder) if path.is_relative_to(folder) else path)


def found_path(shown: str, folder: Path) -> Path:
    """Return where a path of a manifest is now."""
    if shown.startswith(SHIPPED):
        return PACKAGE / shown.removeprefix(SHIPPED)
    return folder / shown


def named_files(values: Iterable[Any]) -> set[Path]:
    """Return the files that options name, those in folders included."""
    found: set[Path] = set()
    for value in values:
        if isinstance(value, (list, tuple)):
            found |= named_files(value)
        elif isinstance(value, (str, Path)) and str(value):
            place = Path(value)
            try:
                inside = [*place.rglob("*")] if place.is_dir() else [place]
                found |= {one.resolve() for one in inside if one.is_file()}
            except (OSError, ValueError):
                continue  # not a path at all
    return found


def changed_files(inputs: Iterable[Mapping[str, Any]], folder: Path) -> list[str]:
    """Return what is not as a manifest says: ``PATH is missing`` or ``PATH has changed``."""
    problems = []
    for one in inputs:
        place = found_path(one["path"], folder)
        if not place.is_file():
            problems.append(f"{one['path']} is missing")
        elif sha256(place) != one["sha256"]:
            problems.append(f"{one['path']} has changed")
    return problems
