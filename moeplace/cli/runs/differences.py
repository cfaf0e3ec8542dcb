"""Whether two runs gave the same: files bit by bit, documents but for times and paths."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

# Keys of documents that say how long something took, or where a file is.
IGNORED = ("runtime_s", "mean_runtime_s", "elapsed_s", "placement")
BITS = (".npz",)  # files that are compared as they are, beside placements
# The text is the document again, with its times; figures hold times and the date.
SKIPPED = (".txt", ".csv", ".png", ".svg", ".pdf", ".parquet")


def compared_files(manifest: Mapping[str, Any]) -> list[str]:
    """Return the outputs of a run that are compared."""
    names = [Path(one["path"]).name for one in manifest["outputs"]]
    return [name for name in names if Path(name).suffix not in SKIPPED]


def run_differences(
    old: Path, old_manifest: Mapping[str, Any], new: Path, new_manifest: Mapping[str, Any]
) -> list[str]:
    """Return in words what differs between two run folders, nothing if nothing does."""
    found = []
    if old_manifest["exit_code"] != new_manifest["exit_code"]:
        found.append(f"exit code {old_manifest['exit_code']}, now {new_manifest['exit_code']}")
    made = set(compared_files(new_manifest))
    for name in compared_files(old_manifest):
        before, after = old / name, new / name
        if not before.is_file():
            found.append(f"{name} is no longer in {old}")
        elif name not in made:
            found.append(f"{name} was not written again")
        elif before.read_bytes() == after.read_bytes():
            continue
        elif name.startswith("placement") or before.suffix in BITS:
            found.append(f"{name}: {_first_byte(before.read_bytes(), after.read_bytes())}")
        else:
            found += [f"{name}: {text}" for text in _documents(before, after)]
    return found


def _first_byte(before: bytes, after: bytes) -> str:
    same = zip(before, after, strict=False)
    at = next((n for n, (a, b) in enumerate(same) if a != b), min(len(before), len(after)))
    return f"other bytes, from byte {at:,} on"


def _documents(before: Path, after: Path) -> list[str]:
    try:
        old, new = (json.loads(path.read_text(encoding="utf-8")) for path in (before, after))
    except ValueError as error:
        return [f"not JSON ({error})"]
    differences = list(_differences(old, new, ""))
    more = [f"and {len(differences) - 1} more"] if len(differences) > 1 else []
    return [*differences[:1], *more]


def _differences(old: Any, new: Any, at: str) -> Iterator[str]:
    if isinstance(old, dict) and isinstance(new, dict):
        if old.get("measure") == new.get("measure") == "time":
            return  # a profile of times
        for key in {**old, **new}:
            if key in IGNORED:
                continue
            if key not in old or key not in new:
                yield f"{at}{key} is {'new' if key in new else 'gone'}"
            else:
                yield from _differences(old[key], new[key], f"{at}{key}.")
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        for number, (one, other) in enumerate(zip(old, new, strict=True)):
            yield from _differences(one, other, f"{at}{number}.")
    elif old != new:
        yield f"{at.rstrip('.')} was {_short(old)}, is {_short(new)}"


def _short(value: Any) -> str:
    if isinstance(value, (dict, list)):
        return f"{len(value)} entries"
    return str(value) if len(str(value)) <= 60 else f"{str(value)[:57]}..."
