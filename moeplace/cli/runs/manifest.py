"""The manifest of a run: everything that decides what comes out."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from moeplace.errors import InputError

if TYPE_CHECKING:
    from pathlib import Path

SCHEMA = "moeplace.run/1"
NAME = "manifest.json"
PACKAGES = (
    "numpy", "scipy", "numba", "llvmlite", "ortools", "pulp", "networkx", "pyarrow", "pydantic",
    "PyYAML", "joblib", "typer", "rich",
)  # fmt: skip
KEYS = {
    "schema", "command", "command_line", "arguments", "options", "working_folder", "inputs",
    "versions", "platform", "seed", "started", "duration_s", "exit_code", "repeatable", "clock",
    "outputs",
}  # fmt: skip


def versions() -> dict[str, str]:
    """Return the versions of the program and of what it computes with; nothing is loaded."""
    import platform
    from importlib.metadata import PackageNotFoundError, version

    from moeplace import __version__

    found = {"moeplace": __version__, "python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def machine() -> dict[str, Any]:
    """Return the platform: the system, the processor and how many cores may be used."""
    import platform

    from moeplace.parallel import available_cores

    return {
        "system": platform.platform(),
        "machine": platform.machine(),
        "processor": _processor() or platform.processor(),
        "cores": available_cores(),
    }


def _processor() -> str:
    """Return the processor's name where Linux tells it: results depend on its instructions."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            lines = [line for line in file if line.startswith("model name")]
    except OSError:
        return ""
    return lines[0].partition(":")[2].strip() if lines else ""


def read_manifest(run: Path) -> dict[str, Any]:
    """Return the manifest of a run folder, or of the file itself.

    Raises
    ------
    InputError
        If there is none, or it is not one of this version.
    """
    path = run / NAME if run.is_dir() else run
    if not path.is_file():
        raise InputError(f"{run}: no run folder; it has no {NAME} (make one with --run-dir)")
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: not JSON ({error})") from error
    if not isinstance(document, dict) or document.get("schema") != SCHEMA:
        said = document.get("schema") if isinstance(document, dict) else None
        raise InputError(f"{path}: schema is {said!r}; {SCHEMA!r} expected")
    if missing := KEYS - set(document):
        raise InputError(f"{path}: key {min(missing)!r} is missing")
    return document
