"""The system as a matplotlib figure: ranks by load, links by time."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from moeplace.cli.report.drawing import Drawing, Wire, draw_system
from moeplace.cli.report.figure_style import new_axes, one_sided

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from numpy.typing import NDArray

    from moeplace.cli.report.gather import Gathered

INCH = 90.0  # units of a drawing


def plot_map(
    gathered: Gathered, view: str = "result", layer: int | None = None, axes: Axes | None = None
) -> Axes:
    """Draw the mesh or the nodes: ranks colored by load over mean, links as wide as their time.

    All views share one scale, so that figures of several can be put beside each other.

    Parameters
    ----------
    gathered
        From :func:`~moeplace.cli.report.gather.gather`.
    view
        ``contiguous``, ``eplb`` or ``result``.
    layer
        Absolute layer id; None for the mean over all layers.
    axes
        Where to draw; None makes a figure.
    """
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    drawing, row = draw_system(gathered.problem.system), gathered.row_of(layer)
    if axes is None:
        axes = new_axes(drawing.width / INCH + 1.2, drawing.height / INCH + 0.5)
    load, link_s = _shown(gathered, view, row)
    every = [_shown(gathered, one.key, row) for one in gathered.views]
    top = max(float(one[0].max(initial=0)) for one in every) or 1.0
    slow = max(float(one[1].max(initial=0)) for one in every) or 1.0
    ramp = one_sided()
    _draw(axes, drawing, load / top, link_s / slow, load)
    bar = axes.figure.colorbar(ScalarMappable(Normalize(0, top), ramp), ax=axes, shrink=0.7)
    bar.set_label("load / mean load")
    where = "mean of all layers" if layer is None else f"layer {layer}"
    axes.set_title(
        f"{gathered.view(view).label}, {where}; thickest link {slow * 1e6:,.0f} µs", fontsize=10
    )
    return axes


def _shown(
    gathered: Gathered, view: str, row: int | None
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return (ranks,) load over mean and (links,) seconds, of one layer or mean over all."""
    score = gathered.view(view).score
    load = score.rank_load / np.maximum(score.rank_load.mean(axis=1, keepdims=True), 1e-300)
    link_s = score.link_bytes / gathered.problem.system.topology.bandwidth_Bps
    if row is None:
        return load.mean(axis=0), link_s.mean(axis=0)
    return load[row], link_s[row]


def _draw(
    axes: Axes,
    drawing: Drawing,
    shade: NDArray[np.float64],
    link_shade: NDArray[np.float64],
    load: NDArray[np.float64],
) -> None:
    from matplotlib.patches import FancyBboxPatch, Polygon

    ramp = one_sided()
    for box in drawing.boxes:
        axes.add_patch(FancyBboxPatch((box.x + 4, box.y + 4), box.w - 8, box.h - 8, fill=False,
                                      boxstyle="round,pad=4", edgecolor="#c9c9c0"))  # fmt: skip
        axes.text(box.x + 10, box.y + 18, box.label, fontsize=7, color="#59626d")
    for wire in drawing.wires:
        share = float(link_shade[wire.link])
        corners = arrow(wire, 1 + share * (drawing.widest - 1))
        axes.add_patch(Polygon(corners, color=ramp(0.18 + 0.82 * share), linewidth=0))
    for rank, tile in enumerate(drawing.tiles):
        color = ramp(float(shade[rank]))
        axes.add_patch(
            FancyBboxPatch(
                (tile.x + 4, tile.y + 4),
                tile.w - 8,
                tile.h - 8,
                boxstyle="round,pad=4",
                facecolor=color,
                linewidth=0,
            )
        )
        light = 0.299 * color[0] + 0.587 * color[1] + 0.114 * color[2] > 0.52
        axes.text(
            tile.x + tile.w / 2,
            tile.y + tile.h / 2,
            f"{rank}\n{load[rank]:.2f}",
            ha="center",
            va="center",
            fontsize=7,
            color="black" if light else "white",
        )
    axes.set_xlim(0, drawing.width)
    axes.set_ylim(drawing.height, 0)
    axes.set_aspect("equal")
    axes.axis("off")


def arrow(wire: Wire, width: float) -> list[tuple[float, float]]:
    """Return the corners of an arrow along a wire."""
    far = math.hypot(wire.x2 - wire.x1, wire.y2 - wire.y1) or 1.0
    ux, uy = (wire.x2 - wire.x1) / far, (wire.y2 - wire.y1) / far
    half, neck = width / 2, far - min(far * 0.4, max(6.0, width * 0.8))
    wing = max(half * 1.35, half + 1.2)
    steps = ((0, -half), (neck, -half), (neck, -wing), (far, 0), (neck, wing), (neck, half))
    return [
        (wire.x1 + ux * along - uy * side, wire.y1 + uy * along + ux * side)
        for along, side in (*steps, (0, half))
    ]
