"""`moeplace report`."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from moeplace.cli.options import OUTPUT, QuietOption
from moeplace.cli.output import Output
from moeplace.errors import UsageError

FIGURE = "Figures"


class Page(StrEnum):
    """What is written."""

    html = "html"
    png = "png"
    svg = "svg"


def report(
    result: Annotated[Path, typer.Argument(metavar="RESULT", help="File of `solve --result`.")],
    output: Annotated[
        Path,
        typer.Option(
            "--output", "-o", metavar="FILE", help="File to write.", rich_help_panel=OUTPUT
        ),
    ],
    compare: Annotated[
        list[Path] | None,
        typer.Argument(metavar="COMPARE", help="Files of `compare -o FILE.json`."),
    ] = None,
    format: Annotated[
        Page,
        typer.Option("--format", help="The page, or one figure of it.", rich_help_panel=OUTPUT),
    ] = Page.html,
    figure: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="map, terms, layers, bound, together, experts, replicas or help.",
            rich_help_panel=FIGURE,
        ),
    ] = None,
    view: Annotated[
        str,
        typer.Option(
            metavar="V",
            help="Placement of the figure: contiguous, eplb or result.",
            rich_help_panel=FIGURE,
        ),
    ] = "result",
    layer: Annotated[
        int | None,
        typer.Option(
            metavar="ID", help="Layer of the figure; default: all.", rich_help_panel=FIGURE
        ),
    ] = None,
    resolve_time: Annotated[
        float,
        typer.Option(
            metavar="S",
            min=0,
            help="Seconds for each of two searches that say what more slots bring; 0: none.",
        ),
    ] = 5.0,
    quiet: QuietOption = False,
) -> None:
    """Show a result as one page that needs nothing else, or draw one figure of it.

    The page shows the system with its load, every layer, the distance from the
    bound, what is used together, hot experts, replicas and what they are worth,
    what would help next, and where every number comes from.

    Example: moeplace report result.json -o report.html
    """
    from moeplace.cli.files import check_writable
    from moeplace.cli.progress import Progress

    out = Output(quiet=quiet)
    if (format is Page.html) != (figure is None):
        raise UsageError(
            "--format png and svg draw one figure: give --figure NAME"
            if figure is None
            else "--figure needs --format png or svg"
        )
    check_writable(output, (f".{format}", ".htm") if format is Page.html else (f".{format}",))
    with Progress("reading", quiet=quiet) as progress:
        if figure is not None:
            from moeplace.cli.report.figures import check_figure
            from moeplace.cli.report.write import write_report

            check_figure(figure)
            write_report(
                result, output, compare=compare or (), format=format, figure=figure, view=view,
                layer=layer, resolve_s=resolve_time,
            )  # fmt: skip
        else:
            from moeplace.cli.report.write import write_page

            write_page(result, output, compare or (), resolve_time, on_stage=progress.stage)
    out.note(f"wrote {output}, {output.stat().st_size / 1e3:,.0f} kB")
