"""`moeplace doctor`."""

from __future__ import annotations

from typing import Any

import typer

from moeplace.cli.options import FormatOption
from moeplace.cli.output import Format, Output

PACKAGES = (
    "numpy", "scipy", "numba", "ortools", "pulp", "networkx", "pyarrow", "pydantic", "PyYAML",
    "typer", "rich", "joblib",
)  # fmt: skip
BACKEND_MISSING = 6


def doctor(format: FormatOption = Format.table) -> None:
    """Check the installation: versions, solver backends, cache.

    Example: moeplace doctor --format json
    """
    out = Output(format)
    rows = [*_versions(), *_backends(), _cache(), _processors()]
    out.show(
        {row["check"]: {"ok": row["ok"], "found": row["found"]} for row in rows},
        rows,
        lambda: out.table(
            ("check", "", "found"),
            [(row["check"], "ok" if row["ok"] else "BAD", row["found"]) for row in rows],
            left=(0, 1, 2),
        ),
    )
    if not all(row["ok"] for row in rows):
        raise typer.Exit(BACKEND_MISSING)


def _row(check: str, ok: bool, found: str) -> dict[str, Any]:
    return {"check": check, "ok": ok, "found": found}


def _versions() -> list[dict[str, Any]]:
    import platform
    from importlib.metadata import PackageNotFoundError, version

    from moeplace import __version__

    rows = [
        _row("Python", True, f"{platform.python_version()} on {platform.platform(terse=True)}"),
        _row("moeplace", True, __version__),
    ]
    for package in PACKAGES:
        try:
            rows.append(_row(package, True, version(package)))
        except PackageNotFoundError:
            rows.append(_row(package, False, f"missing: pip install {package}"))
    return rows


def _backends() -> list[dict[str, Any]]:
    from moeplace.formulations.backends import check_backends

    return [_row(name, ok, text) for name, (ok, text) in check_backends().items()]


def _cache() -> dict[str, Any]:
    """Tell whether compiled kernels are kept, so that only the first run compiles."""
    import os
    from pathlib import Path

    import moeplace

    folder = Path(os.environ.get("NUMBA_CACHE_DIR") or Path(moeplace.__file__).parent)
    if os.access(folder, os.W_OK):
        return _row("compiled-code cache", True, "kept beside the code")
    return _row(
        "compiled-code cache",
        True,
        f"{folder} is not writable: kept in your home, or set NUMBA_CACHE_DIR",
    )


def _processors() -> dict[str, Any]:
    import os

    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return _row("processors", True, str(usable))
