"""Colors and empty Axes of the figures; the same colors as the page's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from moeplace.errors import BackendMissingError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLORS = {"dispatch": "#9cc3e4", "compute": "#245f96", "combine": "#dda63a"}
RAMP = ("#f2f1ea", "#d3e3dd", "#a3cccd", "#6aacbd", "#3d86aa", "#245f96", "#1b3c74", "#151b45")
ENDS = ("#8a4b0c", "#d08c3c", "#efd3aa", "#f6f5f1", "#b5cfe4", "#4d8abd", "#173f73")


def new_axes(width: float, height: float) -> Axes:
    """Return empty Axes on a figure of its own, in inches.

    Raises
    ------
    BackendMissingError
        If matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise BackendMissingError("figures need matplotlib: pip install 'moeplace[plot]'") from None
    axes = Figure(figsize=(width, height), layout="constrained").subplots()
    axes.spines[["top", "right"]].set_visible(False)
    return axes


def one_sided() -> Any:
    """Return the ramp from light to dark, little to much."""
    from matplotlib.colors import LinearSegmentedColormap

    return LinearSegmentedColormap.from_list("moeplace", RAMP)


def two_sided() -> Any:
    """Return the ramp around a middle, brown below and blue above."""
    from matplotlib.colors import LinearSegmentedColormap

    return LinearSegmentedColormap.from_list("moeplace two", ENDS)
