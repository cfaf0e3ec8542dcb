"""Insights and comparisons of a trace as people read them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from moeplace.cli.output import Output
    from moeplace.traces.analysis.insights import Insights
    from moeplace.traces.analysis.tally import Tally

CLUSTERS_SHOWN = 8


def insight_rows(found: Insights) -> list[dict[str, Any]]:
    """Return one row for each figure."""
    return [
        {
            "observation": row.measure.observation,
            "figure": row.measure.key,
            "text": row.measure.text,
            "trace": row.measure.value,
            "baseline": row.measure.baseline,
            "baseline_text": row.measure.baseline_text,
            "paper": "; ".join(f"{model} {text}" for model, text in row.paper.items()),
            "source": row.source,
        }
        for row in found.rows
    ]


def draw_insights(found: Insights, clusters: list[list[int]] | None, out: Output) -> None:
    """Print the figures beside the paper's, then the six insights."""
    from moeplace.models import format_layer_ids

    out.line(
        f"{found.name}: {found.tokens:,} tokens, {len(found.layer_ids)} layers, "
        f"{found.num_experts} experts, top {found.top_k}",
        bold=True,
    )
    if found.left_out:
        out.line(
            f"layer {format_layer_ids(found.left_out)} sends nearly every token to one expert; it "
            "is in no mean below"
        )
    out.line()
    table = []
    for row in found.rows:
        measure = row.measure
        base = ""
        if measure.baseline is not None:
            base = f"{_number(measure.baseline)} {measure.baseline_text}"
        paper = ", ".join(row.paper.values())
        table.append((measure.observation, measure.text, _number(measure.value), base, paper))
    title = "paper" if found.model is None else f"paper,\n{found.model}"
    out.table(("", "figure", "trace", "beside", title), table, left=(0, 1, 3, 4))
    if found.phases is not None:
        out.line()
        out.line(f"max/mean load of {found.ranks} ranks: made for a phase (row), measured in")
        labels = ("prefill", "decode", "in order")
        out.table(
            ("made for", "prefill", "decode"),
            [(name, *map(_number, row)) for name, row in zip(labels, found.phases, strict=True)],
        )
    if found.windows is not None and len(found.windows[0]) > 1:
        out.line()
        out.line(f"max/mean load of {found.ranks} ranks: made for a window (row), measured in")
        count = len(found.windows[0])
        names = [*(str(i) for i in range(count)), "in order"]
        out.table(
            ("made for", *names[:-1]),
            [(name, *map(_number, row)) for name, row in zip(names, found.windows, strict=True)],
        )
    out.line()
    for insight in found.insights:
        out.line(f"{insight.number}. {insight.title}: {insight.verdict}", bold=True)
        out.line(f"   {insight.sentence}")
    if clusters:
        out.line()
        shown = clusters[:CLUSTERS_SHOWN]
        sizes = ", ".join(str(len(c)) for c in shown)
        more = "" if len(clusters) == len(shown) else f" and {len(clusters) - len(shown)} more"
        out.line(f"clusters of experts that go together (Louvain): {sizes}{more} experts")


def compare_rows(tally: Tally, by: str) -> list[dict[str, Any]]:
    """Return one row for each phase, domain or window: how uneven, how far from the whole."""
    import numpy as np

    from moeplace.errors import InputError
    from moeplace.traces.analysis.shift import jensen_shannon, top_overlap, total_variation
    from moeplace.traces.stats import gini
    from moeplace.traces.trace import PHASES

    names: Sequence[str]
    if by == "phase":
        loads, names = tally.phase_load, PHASES
    elif by == "domain":
        loads, names = tally.domain_load, tally.domains
    else:
        loads = tally.window_load
        names = [f"window {i}" for i in range(loads.shape[0])]
    if loads is None:
        raise InputError(f"trace {tally.name!r} does not record {by}s")
    rows = []
    for name, load in zip(names, loads, strict=True):
        if not load.any():
            continue
        mean = np.maximum(load.mean(axis=1), 1e-300)
        rows.append(
            {
                by: name,
                "tokens": round(float(load.sum(axis=1).max()) / tally.top_k),
                "imbalance": float(np.mean(load.max(axis=1) / mean)),
                "gini": float(np.mean([gini(row) for row in load])),
                "total_variation": float(np.mean(total_variation(load, tally.load))),
                "jensen_shannon_bits": float(np.mean(jensen_shannon(load, tally.load))),
                "top_10_overlap": float(np.mean(top_overlap(load, tally.load, 10))),
            }
        )
    return rows


def draw_compare(rows: Sequence[dict[str, Any]], out: Output) -> None:
    """Print a comparison; the distances are from the whole trace."""
    first = next(iter(rows[0])) if rows else ""
    out.table(
        (first, "tokens", "max/\nmean", "Gini", "total\nvariation", "JS,\nbits", "top 10\nshared"),
        [
            (
                str(row[first]),
                f"{row['tokens']:,}",
                *(_number(value) for value in list(row.values())[2:]),
            )
            for row in rows
        ],
    )


def _number(value: float) -> str:
    return f"{value:.2f}" if abs(value) < 100 else f"{value:,.0f}"
