"""A report written to a file: the page, or one of its figures."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from moeplace.errors import UsageError
from moeplace.files import atomic_write

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from moeplace.formulations.result import Result

FORMATS = ("html", "png", "svg")


def write_report(
    result: Path | str | Result,
    output: Path | str,
    *,
    compare: Sequence[Path | str] = (),
    format: str = "html",
    figure: str | None = None,
    view: str = "result",
    layer: int | None = None,
    resolve_s: float = 0.0,
) -> Path:
    """Write what a result means as one self-contained page, or one figure of it.

    Parameters
    ----------
    result
        A file of ``moeplace solve --result``, or a :class:`Result`.
    output
        The file to write; its folder must exist.
    compare
        Files of ``moeplace compare`` on the same problem.
    format
        ``html`` for the page; ``png`` or ``svg`` for a figure, which needs matplotlib.
    figure
        Which figure: a name of :data:`moeplace.cli.report.figures.FIGURES`.
    view, layer
        What a figure shows: ``contiguous``, ``eplb`` or ``result``; an absolute layer id, or
        None for all layers.
    resolve_s
        Seconds for each of two searches that say what more slots would bring; 0 leaves them out.

    Returns
    -------
    Path
        The file written.

    Raises
    ------
    InputError
        If a file is no result, is damaged, or was made from files that are not here.
    CheckFailedError
        If its inputs have changed since.
    UsageError
        If the format is unknown, or a figure is missing or given without need.
    BackendMissingError
        If a figure is wanted and matplotlib is not installed.
    """
    if format not in FORMATS:
        raise UsageError(f"format is {format!r}; use {', '.join(FORMATS)}")
    if (format == "html") != (figure is None):
        needed = "needs a" if figure is None else "takes no"
        raise UsageError(f"format {format} {needed} figure")
    path = Path(output)
    if figure is not None:
        from moeplace.cli.report.figures import draw_figure, save_figure
        from moeplace.cli.report.gather import gather

        axes = draw_figure(gather(result, compare), figure, view, layer, resolve_s)
        save_figure(axes, path, format)
        return path
    return write_page(result, path, compare, resolve_s)


def write_page(
    result: Path | str | Result,
    output: Path,
    compare: Sequence[Path | str] = (),
    resolve_s: float = 0.0,
    on_stage: Callable[[str], None] | None = None,
) -> Path:
    """Write the page; `on_stage` hears what is being worked out."""
    from moeplace.cli.report.gather import gather
    from moeplace.cli.report.page import page_of
    from moeplace.cli.report.replicas import replicated
    from moeplace.cli.report.sensitivity import what_would_help

    def stage(text: str) -> None:
        if on_stage is not None:
            on_stage(text)

    gathered = gather(result, compare)
    stage("what would help next")
    effects = what_would_help(gathered, resolve_s)
    stage("what replicas are worth")
    replicas = replicated(gathered)
    stage("page")
    with atomic_write(output) as file:
        file.write(page_of(gathered, effects, replicas))
    return output
