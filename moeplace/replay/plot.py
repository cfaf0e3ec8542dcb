"""Balance ratio and step time over windows as a picture."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from moeplace.errors import BackendMissingError, InputError
from moeplace.files import atomic_write

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from moeplace.replay.outcome import Replay

POINTS = 400  # beyond, windows are averaged in groups


def draw_replay(found: Replay, path: Path) -> None:
    """Draw the balance ratio, the step time and the bytes moved so far of every policy.

    Raises
    ------
    BackendMissingError
        If matplotlib is not installed.
    InputError
        If the kind of file is unknown.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise BackendMissingError(
            "drawing needs matplotlib: pip install 'moeplace[plot]'"
        ) from error
    figure = Figure(figsize=(9, 8), layout="constrained")
    upper, middle, lower = figure.subplots(3, 1, sharex=True)
    for run in found.runs:
        x, ratio = thinned(run.ratio)
        _, seconds = thinned(run.window_s / found.settings.steps)
        upper.plot(x, ratio, label=run.policy, linewidth=1)
        middle.plot(x, 1e3 * seconds, linewidth=1)
        lower.plot(x, thinned(np.cumsum(run.nbytes))[1] / 1e9, linewidth=1)
    upper.set(ylabel="largest / mean rank load", title=found.name)
    upper.legend(fontsize=8, ncols=2)
    middle.set(ylabel="ms a step, copies included")
    lower.set(ylabel="GB moved so far", xlabel="window")
    kind = path.suffix.lstrip(".") or "png"
    try:
        with atomic_write(path, "wb") as file:
            figure.savefig(file, format=kind, dpi=130)
    except ValueError as error:
        raise InputError(f"{path}: {error}") from error


def thinned(values: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return window numbers and values, averaged in groups so that few enough points are left."""
    group = -(-values.size // POINTS)
    starts = np.arange(0, values.size, group)
    total = np.add.reduceat(values.astype(np.float64), starts)
    size = np.diff(np.append(starts, values.size))
    return starts + (size - 1) / 2, total / size
