"""`moeplace sweep`: one question at many points."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from moeplace.cli.options import (
    OUTPUT,
    SEARCH,
    WHAT,
    WHERE,
    ExplainOption,
    FormatOption,
    QuietOption,
)
from moeplace.cli.output import INTERRUPTED, Format, Output
from moeplace.cli.runs.command import keeps_run
from moeplace.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

DEFAULT_AXES = "link_GBps,redundant"


@keeps_run
def sweep(
    model: Annotated[
        str, typer.Option("--model", "-m", metavar="M,..", help="Models.", rich_help_panel=WHAT)
    ],
    hw: Annotated[
        str, typer.Option("--hw", metavar="H,..", help="Systems.", rich_help_panel=WHERE)
    ],
    ranks: Annotated[
        str | None,
        typer.Option(
            metavar="N,..", help="EP sizes of clusters; default: their own.", rich_help_panel=WHERE
        ),
    ] = None,
    phase: Annotated[
        str, typer.Option(metavar="P,..", help="prefill, decode.", rich_help_panel=WHAT)
    ] = "prefill",
    tokens_per_rank: Annotated[
        str | None,
        typer.Option(metavar="N,..", help="Batches; default: the phase's.", rich_help_panel=WHAT),
    ] = None,
    redundant: Annotated[
        str, typer.Option(metavar="N,..", help="Redundant experts.", rich_help_panel=WHERE)
    ] = "0",
    link_gbps: Annotated[
        str | None,
        typer.Option(
            "--link-GBps",
            metavar="B,..",
            help="Fast links; default: the system's.",
            rich_help_panel=WHERE,
        ),
    ] = None,
    nic_gbps: Annotated[
        str | None,
        typer.Option(
            "--nic-GBps", metavar="B,..", help="NICs; default: the system's.", rich_help_panel=WHERE
        ),
    ] = None,
    solver: Annotated[
        str, typer.Option(help="Who places the experts at every point.", rich_help_panel=SEARCH)
    ] = "eplb",
    layers: Annotated[
        int | None,
        typer.Option(
            metavar="N", help="Layers that stand for all; 0 for all.", min=0, rich_help_panel=WHAT
        ),
    ] = 8,
    plot: Annotated[
        Path | None,
        typer.Option(metavar="OUT.png", help="Heat map of the layer time.", rich_help_panel=OUTPUT),
    ] = None,
    plot_axes: Annotated[
        str,
        typer.Option(
            metavar="X,Y", help="Columns across and down the heat map.", rich_help_panel=OUTPUT
        ),
    ] = DEFAULT_AXES,
    explain: ExplainOption = False,
    format: FormatOption = Format.table,
    quiet: QuietOption = False,
) -> None:
    """Place and score every combination of the values given, comma separated.

    Example: moeplace sweep --model deepseek-v3 --hw wafer --link-GBps 400,800,1700 --redundant 0,25
    """
    from moeplace.cli.progress import Progress
    from moeplace.formulations.sweep import Sweep, run_sweep

    out = Output(format, quiet)
    axes = [name.strip() for name in plot_axes.split(",")]
    if len(axes) != 2:
        raise UsageError(f"--plot-axes is {plot_axes!r}; give two columns, X,Y")
    asked = Sweep(
        models=_names(model, "--model"),
        systems=_names(hw, "--hw"),
        phases=_names(phase, "--phase"),
        ranks=_numbers(ranks, "--ranks"),
        tokens_per_rank=_numbers(tokens_per_rank, "--tokens-per-rank"),
        redundant=[number or 0 for number in _numbers(redundant, "--redundant")],
        link_GBps=_rates(link_gbps, "--link-GBps"),
        nic_GBps=_rates(nic_gbps, "--nic-GBps"),
        solver=solver,
        layers=layers or None,
    )
    rows: list[dict[str, Any]] = []
    total, interrupted = f"{asked.num_points:,}", False
    with Progress(f"point 1 of {total}", quiet=quiet) as progress:

        def keep(row: dict[str, Any]) -> None:
            rows.append(row)
            progress.stage(f"{len(rows):,} of {total} points")

        try:
            run_sweep(asked, keep)
        except KeyboardInterrupt:
            if not rows:
                raise
            interrupted = True
    if plot is not None:
        from moeplace.cli.heatmap import draw_heatmap

        draw_heatmap(rows, axes[0], axes[1], "layer_us", plot)
        out.note(f"wrote {plot}")
    document: Any = rows
    if explain:
        from moeplace.cli.explain.comparison import explain_sweep

        document = {"rows": rows, "explain": explain_sweep(rows)}
    out.show(document, rows, lambda: _draw(rows, out))
    if interrupted:
        out.note(f"interrupted: {len(rows):,} of {total} points")
        raise typer.Exit(INTERRUPTED)


def _names(text: str, option: str) -> list[str]:
    found = [part.strip() for part in text.split(",") if part.strip()]
    if not found:
        raise UsageError(f"{option} is empty")
    return found


def _numbers(text: str | None, option: str) -> list[int | None]:
    if text is None:
        return [None]
    try:
        return [int(part) for part in _names(text, option)]
    except ValueError:
        raise UsageError(f"{option} is {text!r}; give whole numbers, comma separated") from None


def _rates(text: str | None, option: str) -> list[float | None]:
    if text is None:
        return [None]
    try:
        found = [float(part) for part in _names(text, option)]
    except ValueError:
        raise UsageError(f"{option} is {text!r}; give numbers, comma separated") from None
    if not all(0 < rate < float("inf") for rate in found):
        raise UsageError(f"{option} is {text!r}; bandwidths are above 0")
    return list(found)


def _draw(rows: Sequence[dict[str, Any]], out: Output) -> None:
    headers = (
        ("model", "model"),
        ("hw", "system"),
        ("ranks", "ranks"),
        ("phase", "phase"),
        ("tokens_per_rank", "tokens\na rank"),
        ("redundant", "redun-\ndant"),
        ("link_GBps", "link\nGB/s"),
        ("nic_GBps", "NIC\nGB/s"),
    )
    varied = [
        number for number, (name, _) in enumerate(headers) if len({row[name] for row in rows}) > 1
    ]
    fixed = [
        f"{title.replace('-' + chr(10), '').replace(chr(10), ' ')} {_cells(rows[0])[number]}"
        for number, (_, title) in enumerate(headers)
        if number not in varied and _cells(rows[0])[number] != "-"
    ]
    out.line(f"{len(rows):,} points; times of one MoE layer, µs", bold=True)
    if fixed:
        out.line(", ".join(fixed))
    shown = [*varied, *range(len(headers), len(headers) + 5)]
    titles = [title for _, title in headers]
    titles += ["layer", "dispatch", "compute", "combine", "balanc-\nedness"]
    out.table(
        [titles[number] for number in shown],
        [[_cells(row)[number] for number in shown] for row in rows],
        left=[place for place, number in enumerate(shown) if number in (0, 1, 3)],
    )
    reasons = {row["reason"] for row in rows if row["status"] != "ok"}
    for reason in sorted(reasons):
        out.line(f"infeasible: {reason}")


def _cells(row: dict[str, Any]) -> tuple[str, ...]:
    def number(name: str, digits: int = 0) -> str:
        value = row.get(name)
        return "-" if value is None else f"{value:,.{digits}f}"

    rates = tuple("-" if row[n] is None else f"{row[n]:g}" for n in ("link_GBps", "nic_GBps"))
    return (
        row["model"],
        row["hw"],
        str(row["ranks"]),
        row["phase"],
        number("tokens_per_rank"),
        str(row["redundant"]),
        *rates,
        "infeasible" if row["status"] != "ok" else number("layer_us", 1),
        *(number(name, 1) for name in ("dispatch_us", "compute_us", "combine_us")),
        number("balancedness", 3),
    )
