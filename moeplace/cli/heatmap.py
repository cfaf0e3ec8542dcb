"""A table over two axes as a picture."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from moeplace.errors import BackendMissingError, InputError
from moeplace.files import atomic_write

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path


def draw_heatmap(
    rows: Sequence[Mapping[str, Any]], across: str, down: str, value: str, path: Path
) -> None:
    """Draw one value over two columns, the median where several rows share a cell.

    Raises
    ------
    BackendMissingError
        If matplotlib is not installed.
    InputError
        If a column does not exist or no row has the value.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise BackendMissingError(
            "drawing needs matplotlib: pip install 'moeplace[plot]'"
        ) from error
    for name in (across, down, value):
        if rows and not any(name in row for row in rows):
            raise InputError(f"no column {name!r}; the table has {', '.join(rows[0])}")
    kept = [row for row in rows if row.get(value) is not None]
    if not kept:
        raise InputError(f"no row has a value of {value}")
    columns = list(dict.fromkeys(row[across] for row in rows))
    lines = list(dict.fromkeys(row[down] for row in rows))
    grid = np.full((len(lines), len(columns)), np.nan)
    for i, line in enumerate(lines):
        for j, column in enumerate(columns):
            here = [r[value] for r in kept if r[down] == line and r[across] == column]
            if here:
                grid[i, j] = np.median(here)
    figure = Figure(
        figsize=(1.5 + 0.8 * len(columns), 1.5 + 0.5 * len(lines)), layout="constrained"
    )
    axes = figure.subplots()
    shades = axes.imshow(grid, aspect="auto", cmap="viridis")
    axes.set_xticks(range(len(columns)), [_text(c) for c in columns], rotation=30, ha="right")
    axes.set_yticks(range(len(lines)), [_text(line) for line in lines])
    axes.set(xlabel=across, ylabel=down, title=f"{value}, lower is better")
    middle = np.nanmean(grid)
    for (i, j), number in np.ndenumerate(grid):
        if np.isfinite(number):
            color = "black" if number > middle else "white"
            axes.text(j, i, f"{number:,.4g}", ha="center", va="center", fontsize=7, color=color)
    figure.colorbar(shades)
    kind = path.suffix.lstrip(".") or "png"
    try:
        with atomic_write(path, "wb") as file:
            figure.savefig(file, format=kind, dpi=150)
    except ValueError as error:
        raise InputError(f"{path}: {error}") from error


def _text(value: Any) -> str:
    return "-" if value is None else str(value)
