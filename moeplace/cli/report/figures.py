"""The figures of a report for papers and slides: each a function that returns matplotlib Axes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from moeplace.cli.report.coactivation import (
    LIMIT,
    expert_lift,
    groups_of_ranks,
    pairs_of,
    rank_lift,
)
from moeplace.cli.report.comparison import comparison_rows
from moeplace.cli.report.figure_style import COLORS, new_axes, two_sided
from moeplace.cli.report.figure_system import plot_map
from moeplace.cli.report.gather import label_of
from moeplace.cli.report.words import TERMS, UNITS
from moeplace.errors import BackendMissingError, InputError, unknown_name
from moeplace.files import atomic_write

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from matplotlib.axes import Axes

    from moeplace.cli.report.gather import Gathered

MOST_BARS = 20  # experts in a figure


def plot_terms(gathered: Gathered, axes: Axes | None = None) -> Axes:
    """Draw the time of a step by term for the baselines and the placement, with the bound.

    Parameters
    ----------
    gathered
        From :func:`~moeplace.cli.report.gather.gather`.
    axes
        Where to draw; None makes a figure.
    """
    axes = new_axes(7, 3) if axes is None else axes
    scores = [(label_of(k, gathered.document), v) for k, v in gathered.baselines.items()]
    scores.append((gathered.found.label, gathered.found.score))
    start = np.zeros(len(scores))
    for term in TERMS:
        ms = np.array([getattr(score, f"{term}_s") for _, score in scores]) * 1e3
        axes.barh(range(len(scores)), ms, left=start, color=COLORS[term], label=term)
        start += ms
    bound = gathered.document["objective"]["lower_bound"]
    if bound is not None and gathered.problem.objective == "time":
        axes.axvline(bound * 1e3, color="black", linestyle="--", linewidth=1, label="proven bound")
    axes.set_yticks(range(len(scores)), [name for name, _ in scores])
    axes.invert_yaxis()
    axes.set(xlabel="ms a step", title="Time of a step by term")
    _legend(axes)
    return axes


def plot_layers(gathered: Gathered, view: str = "result", axes: Axes | None = None) -> Axes:
    """Draw every layer as a bar: time by term, or the objective where that is another.

    Parameters
    ----------
    gathered
        From :func:`~moeplace.cli.report.gather.gather`.
    view
        ``contiguous``, ``eplb`` or ``result``.
    axes
        Where to draw; None makes a figure.
    """
    axes = new_axes(9, 3) if axes is None else axes
    score, name, at = gathered.view(view).score, gathered.problem.objective, gathered.layer_ids
    scale = 1e6 if name == "time" else 1.0
    if name == "time":
        start = np.zeros(len(at))
        for term in TERMS:
            part = getattr(score, f"layer_{term}_s") * scale
            axes.bar(at, part, bottom=start, color=COLORS[term], label=term)
            start += part
    else:
        axes.bar(at, score.layer_objective, color=COLORS["compute"])
    if gathered.bound_layers is not None:
        bound = gathered.bound_layers * scale
        axes.plot(at, bound, "_", color="white", markeredgewidth=3)
        axes.plot(at, bound, "_", color="black", label="proven bound")
    axes.set(xlabel="layer", ylabel="µs" if name == "time" else UNITS[name])
    axes.set_title(f"Layer by layer: {gathered.view(view).label}")
    _legend(axes)
    return axes


def plot_bound(gathered: Gathered, axes: Axes | None = None) -> Axes:
    """Draw the gap of every placement to the proven bound.

    Raises
    ------
    InputError
        If no bound is known.
    """
    rows = comparison_rows(gathered)
    if any(row["gap"] is None for row in rows):
        raise InputError("no lower bound is known for this result, so there is no gap to draw")
    rows.sort(key=lambda row: -row["gap"])
    axes = new_axes(7, 1.2 + 0.3 * len(rows)) if axes is None else axes
    shades = [COLORS["compute"] if row["ours"] else COLORS["dispatch"] for row in rows]
    axes.barh([row["solver"] for row in rows], [100 * row["gap"] for row in rows], color=shades)
    axes.set(xlabel="gap to the proven bound, %", title="Against the proven bound")
    return axes


def plot_together(
    gathered: Gathered, view: str = "result", layer: int | None = None, axes: Axes | None = None
) -> Axes:
    """Draw which ranks serve the same tokens; with a layer, which experts, ordered by rank.

    Raises
    ------
    InputError
        If the workload knows loads only.
    """
    problem, placement = gathered.problem, gathered.view(view).placement
    pairs = pairs_of(problem)
    if pairs is None:
        raise InputError("the workload knows loads only, not which experts are used together")
    row = gathered.row_of(layer)
    if row is None:
        lift = rank_lift(problem, placement, pairs).mean(axis=0)
        single = int(groups_of_ranks(problem.num_ranks)[-1]) + 1 == problem.num_ranks
        name = "rank" if single else "group of neighboring ranks"
    else:
        slots = placement.expert_of_slot[row]
        order = list(dict.fromkeys(slots[slots >= 0].tolist()))
        lift = expert_lift(problem, pairs, row)[np.ix_(order, order)]
        name = "expert, ordered by rank"
    axes = new_axes(5.4, 4.6) if axes is None else axes
    shades = axes.imshow(lift, cmap=two_sided(), vmin=-LIMIT, vmax=LIMIT)
    bar = axes.figure.colorbar(shades, ax=axes, ticks=[-2, -1, 0, 1, 2])
    bar.ax.set_yticklabels(["¼", "½", "1", "2", "4"])
    bar.set_label("times as often as by chance")
    kind = problem.workload.token_sets_kind
    where = "all layers" if layer is None else f"layer {layer}"
    axes.set(xlabel=name, ylabel=name)
    axes.set_title(f"Used together, {kind}: {gathered.view(view).label}, {where}", fontsize=10)
    return axes


def plot_experts(gathered: Gathered, layer: int | None = None, axes: Axes | None = None) -> Axes:
    """Draw the most used experts, of one layer or of all."""
    share = gathered.problem.load_share * gathered.problem.num_experts
    row = gathered.row_of(layer)
    rows = range(share.shape[0]) if row is None else [row]
    found = sorted(
        ((float(share[r, e]), r, e) for r in rows for e in range(share.shape[1])), reverse=True
    )[:MOST_BARS]
    axes = new_axes(6, 1 + 0.24 * len(found)) if axes is None else axes
    ids = gathered.layer_ids
    axes.barh(
        [f"layer {ids[r]}, expert {e}" for _, r, e in found],
        [load for load, _, _ in found],
        color=COLORS["compute"],
    )
    axes.invert_yaxis()
    axes.axvline(1, color="black", linestyle="--", linewidth=1)
    axes.set(xlabel="load / mean expert's", title="Most used experts")
    return axes


def plot_replicas(gathered: Gathered, layer: int | None = None, axes: Axes | None = None) -> Axes:
    """Draw what the replicas of an expert are worth: what its layer loses with one fewer.

    Raises
    ------
    InputError
        If no expert has several replicas, or their worth is not known.
    """
    from moeplace.cli.report.replicas import replicated

    row = gathered.row_of(layer)
    known = [
        (r.dropped_s, r)
        for r in replicated(gathered)
        if r.dropped_s is not None and row in (None, r.row)
    ]
    if not known:
        raise InputError("no expert has several replicas whose worth is known here")
    known.sort(key=lambda pair: -pair[0])
    shown, ids = known[:MOST_BARS], gathered.layer_ids
    axes = new_axes(6, 1 + 0.24 * len(shown)) if axes is None else axes
    axes.barh(
        [f"layer {ids[r.row]}, expert {r.expert} on {len(r.ranks)}" for _, r in shown],
        [lost * 1e6 for lost, _ in shown],
        color=COLORS["compute"],
    )
    axes.invert_yaxis()
    axes.set(xlabel="µs that the layer loses with one replica fewer", title="What replicas bring")
    return axes


def plot_help(gathered: Gathered, resolve_s: float = 0.0, axes: Axes | None = None) -> Axes:
    """Draw what each change would do to the time per token."""
    from moeplace.cli.report.sensitivity import what_would_help

    known = [e for e in what_would_help(gathered, resolve_s) if e.per_token is not None]
    effects = sorted(known, key=lambda effect: effect.per_token or 0.0)
    axes = new_axes(8, 1 + 0.32 * len(effects)) if axes is None else axes
    percent = [100 * (effect.per_token or 0.0) for effect in effects]
    shades = [COLORS["compute"] if change <= 0 else COLORS["combine"] for change in percent]
    axes.barh([effect.change for effect in effects], percent, color=shades)
    axes.invert_yaxis()
    axes.axvline(0, color="black", linewidth=1)
    axes.set(xlabel="change of the time per token, %", title="What would help next")
    return axes


def _legend(axes: Axes) -> None:
    """Put the legend under the figure, where it covers no bar."""
    if axes.get_legend_handles_labels()[1]:
        axes.legend(
            frameon=False,
            fontsize=8,
            ncols=4,
            loc="upper center",
            bbox_to_anchor=(0.5, -0.27),
            borderaxespad=0.0,
        )


FIGURES: dict[str, tuple[Callable[..., Any], tuple[str, ...]]] = {
    "map": (plot_map, ("view", "layer")),
    "terms": (plot_terms, ()),
    "layers": (plot_layers, ("view",)),
    "bound": (plot_bound, ()),
    "together": (plot_together, ("view", "layer")),
    "experts": (plot_experts, ("layer",)),
    "replicas": (plot_replicas, ("layer",)),
    "help": (plot_help, ("resolve_s",)),
}


def check_figure(name: str) -> None:
    """Refuse an unknown figure, and any without matplotlib, before anything is read.

    Raises
    ------
    InputError
        If there is no figure of this name.
    BackendMissingError
        If matplotlib is not installed.
    """
    if name not in FIGURES:
        raise unknown_name("figure", name, list(FIGURES), "moeplace report --help")
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        raise BackendMissingError("figures need matplotlib: pip install 'moeplace[plot]'") from None


def draw_figure(
    gathered: Gathered,
    name: str,
    view: str = "result",
    layer: int | None = None,
    resolve_s: float = 0.0,
) -> Axes:
    """Return the Axes of a figure by name; options that it does not have are left out.

    Raises
    ------
    InputError
        If the figure, the view or the layer is unknown, or there is nothing to draw.
    BackendMissingError
        If matplotlib is not installed.
    """
    check_figure(name)
    draw, takes = FIGURES[name]
    given = {"view": view, "layer": layer, "resolve_s": resolve_s}
    axes: Axes = draw(gathered, **{key: given[key] for key in takes})
    return axes


def save_figure(axes: Axes, path: Path, format: str) -> None:
    """Write the figure of some Axes as ``png`` or ``svg``."""
    figure: Any = axes.figure
    with atomic_write(path, "wb") as file:
        figure.savefig(file, format=format, dpi=150)
