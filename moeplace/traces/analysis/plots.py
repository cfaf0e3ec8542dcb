"""Figures of a tally; matplotlib is loaded when one is drawn."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from moeplace.errors import BackendMissingError, InputError
from moeplace.traces.analysis.shift import shares

if TYPE_CHECKING:
    from pathlib import Path

    from moeplace.traces.analysis.tally import Tally

DPI = 120


def plot_tally(tally: Tally, folder: Path) -> list[Path]:
    """Draw every figure that the trace allows, as PNG.

    `loads.png` (layers by experts, each layer's experts by falling load), `coactivation.png` (the
    layer in the middle), `next_layer.png`, `next_token.png`, `phases.png`, `drift.png`.

    Parameters
    ----------
    tally
        Counts of a trace.
    folder
        Where to put them; made if it is not there.

    Returns
    -------
    list
        The files.

    Raises
    ------
    BackendMissingError
        If matplotlib is not installed.
    InputError
        If the folder cannot be written.
    """
    try:
        import matplotlib as mpl
    except ImportError:
        raise BackendMissingError("figures need matplotlib: pip install 'moeplace[plot]'") from None
    mpl.use("Agg")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return [_save(folder / f"{name}.png", *content) for name, content in _figures(tally)]
    except OSError as error:
        raise InputError(f"cannot write {folder}: {error.strerror or error}") from error


def _figures(tally: Tally) -> list[tuple[str, tuple[Any, ...]]]:
    middle = tally.num_layers // 2
    layer = tally.layer_ids[middle]
    ordered = -np.sort(-shares(tally.load), axis=1) * tally.num_experts
    found: list[tuple[str, tuple[Any, ...]]] = [
        ("loads", (ordered, "expert, by falling load", "layer row", "load / mean")),
    ]
    if tally.top_k > 1:
        found.append(
            ("coactivation", (tally.pairs[middle], "expert", "expert", f"tokens, layer {layer}"))
        )
    if tally.next_layer.shape[1]:
        row = min(middle, tally.next_layer.shape[1] - 1)
        table = tally.next_layer[:, row].sum(axis=0)
        after = tally.layer_ids[row + 1]
        found.append(
            (
                "next_layer",
                (
                    table,
                    f"expert, layer {after}",
                    f"expert, layer {tally.layer_ids[row]}",
                    "tokens",
                ),
            )
        )
    if tally.next_token is not None and tally.steps:
        table = tally.next_token[:, :, middle].sum(axis=(0, 1))
        found.append(
            ("next_token", (table, "expert, next token", "expert, token", f"layer {layer}"))
        )
    if tally.phase_load is not None and tally.phase_load.any(axis=(1, 2)).all():
        both = shares(tally.phase_load[:, middle]) * tally.num_experts
        found.append(("phases", (both, f"expert, layer {layer}", "prefill, decode", "load / mean")))
    windows = shares(tally.window_load[:, middle]) * tally.num_experts
    found.append(("drift", (windows, f"expert, layer {layer}", "window", "load / mean")))
    return found


def _save(path: Path, table: Any, x: str, y: str, scale: str) -> Path:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 5), layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(table, aspect="auto", interpolation="nearest", cmap="magma")
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    figure.colorbar(image, label=scale)
    figure.savefig(path, dpi=DPI)
    return path
