"""Predicted against measured, as a picture."""

from __future__ import annotations

from typing import TYPE_CHECKING

from moeplace.errors import BackendMissingError, InputError
from moeplace.files import atomic_write

if TYPE_CHECKING:
    from pathlib import Path

    from moeplace.hwmodels.calibrate.report import ValidationReport

MOST_KERNELS = 10


def plot_report(report: ValidationReport, path: str | Path) -> None:
    """Draw every held-out point, one color per kernel, with lines at ±20 %.

    Raises
    ------
    BackendMissingError
        If matplotlib is not installed.
    InputError
        If there is nothing to draw or the file cannot be written.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise BackendMissingError(
            "drawing needs matplotlib: pip install 'moeplace[plot]'"
        ) from error
    rows = report.of_role("held out")
    if not rows:
        raise InputError("nothing held out to draw")
    figure = Figure(figsize=(6, 6), layout="constrained")
    axes = figure.subplots()
    units = sorted({row.unit.split()[0] for row in rows})
    kernels = sorted({row.kernel for row in rows})
    for number, kernel in enumerate(kernels):
        chosen = [row for row in rows if row.kernel == kernel]
        axes.plot(
            [row.measured for row in chosen],
            [row.predicted for row in chosen],
            "o",
            markersize=2.5,
            alpha=0.5,
            color=f"C{number % MOST_KERNELS}",
            label=f"{kernel} ({len(chosen)})",
        )
    least = min(min(row.measured, row.predicted) for row in rows)
    most = max(max(row.measured, row.predicted) for row in rows)
    for factor, style in ((1.0, "-"), (1.2, ":"), (0.8, ":")):
        axes.plot([least, most], [least * factor, most * factor], style, color="black", lw=0.8)
    axes.set(
        xscale="log",
        yscale="log",
        xlabel=f"measured, {' or '.join(units)}",
        ylabel="predicted, held out",
        title="predicted against measured; dotted ±20 %",
    )
    axes.legend(fontsize=7, loc="upper left")
    name = str(path)
    if "." not in name.rsplit("/", 1)[-1]:
        raise InputError(f"{path}: the name of a picture ends in .png, .svg or .pdf")
    try:
        with atomic_write(path, "wb") as file:
            figure.savefig(file, format=name.rsplit(".", 1)[1], dpi=150)
    except ValueError as error:
        raise InputError(f"{path}: {error}") from error
