"""Held-out errors of the kernel models on the measured tables that ship."""

from __future__ import annotations

from benchmarks.timing import table
from moeplace.hwmodels.calibrate.statistics import summarize
from moeplace.hwmodels.calibrate.validation import validate_tables

SYSTEMS = ("h100-sxm", "h200-sxm", "b200-sxm", "gb200-nvl72")


def report(quick: bool) -> str:
    """Return median and p90 by system: all-to-all, expert kernels, published figures."""
    rows = validate_tables(SYSTEMS[0] if quick else None).of_role("held out")
    lines = []
    for system in SYSTEMS[:1] if quick else SYSTEMS:
        mine = [row for row in rows if row.system == system]
        sized = [row for row in mine if row.note == "without its EP size"]
        experts = [row for row in sized if row.kernel == "expert GEMM"]
        comm = [row for row in sized if row.kernel != "expert GEMM"]
        shapes = [row for row in mine if row.note == "without its shape"]
        for name, chosen in (
            ("all-to-all, EP size left out", comm),
            ("all-to-all, shape left out", shapes),
            ("expert GEMM, EP size left out", experts),
        ):
            lines.append([f"{system}, {name}", *_cells(chosen)])
    publications = [row for row in rows if " " in row.source or "/" in row.source]
    never = [row for row in publications if "without its" not in row.note]
    lines.append(["published, kernel fitted to tables only", *_cells(never)])
    return table(["held out", "points", "median %", "p90 %", "bias %"], lines)


def _cells(rows: list) -> list[str]:
    errors = summarize([row.predicted for row in rows], [row.measured for row in rows])
    figures = (f"{100 * x:.1f}" for x in (errors.median, errors.p90, errors.bias))
    return [f"{errors.count:,}", *figures]
