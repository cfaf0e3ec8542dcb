"""`moeplace export`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from moeplace.cli.options import (
    OUTPUT,
    FormatOption,
    PlacementArgument,
    ProblemOptions,
    QuietOption,
    takes_problem,
)
from moeplace.cli.output import Format, Output
from moeplace.errors import MoeplaceError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from moeplace.placement import Problem

SCHEMA = "moeplace.export/1"


@takes_problem
def export(
    problem_options: ProblemOptions,
    placement: PlacementArgument,
    to: Annotated[
        str,
        typer.Option(
            "--to",
            metavar="ENGINE",
            help="sglang, tensorrt-llm, vllm-ascend, omniplacement, eplb, vllm-list, vllm-jsonl, "
            "ktransformers, llama-cpp, native-json or native-npz.",
            rich_help_panel=OUTPUT,
        ),
    ],
    output: Annotated[
        Path,
        typer.Option("--output", "-o", help="File to write.", rich_help_panel=OUTPUT),
    ],
    fill: Annotated[
        bool,
        typer.Option(
            "--fill/--no-fill",
            help="Put extra copies into empty slots where the engine demands it.",
            rich_help_panel=OUTPUT,
        ),
    ] = True,
    format: FormatOption = Format.table,
    quiet: QuietOption = False,
) -> None:
    """Write a placement in the format a serving engine loads.

    Shows the server flags that load it. What is written is scored again;
    options that are not given are those the placement was made with, if its
    file says so.

    Example: moeplace export placement.json --to sglang -o experts.json
    """
    from moeplace.cli.files import check_writable
    from moeplace.cli.progress import Progress
    from moeplace.cli.recall import read_given, recall
    from moeplace.placement import evaluate
    from moeplace.placement.formats import export_placement, format_info, read_placement

    out = Output(format, quiet)
    check_writable(output, format_info(to).suffixes)
    with Progress("reading", quiet=quiet) as progress:
        from moeplace.models import load_model

        options = recall(problem_options, placement)
        model = None if options.model is None else load_model(options.model)
        if options.model is not None and options.hw is not None:
            given, options = read_given(options, placement)
        else:
            given = read_placement(placement, model=model, num_ranks=options.ranks)
        problem = _problem(options, problem_options.hw is not None, out)
        before = None if problem is None else evaluate(problem, given)
        progress.stage("writing")
        load = None if problem is None else problem.workload.load
        report = export_placement(given, output, to, model=model, fill=fill, load=load)
        after = None if problem is None else evaluate(problem, report.placement)
    document = {
        "schema": SCHEMA,
        "path": str(report.path),
        "engine": report.engine,
        "flags": report.flags,
        "filled_slots": report.filled_slots,
        "notes": report.notes,
        "score_before": None if before is None else before.to_dict(),
        "score": None if after is None else after.to_dict(),
        "layers": report.placement.num_layers,
    }
    rows = [{"key": key, "value": value} for key, value in document.items() if key != "notes"]
    out.show(document, rows, lambda: _draw(document, out))


def _problem(options: ProblemOptions, wanted: bool, out: Output) -> Problem | None:
    """Return the problem to score with; None, with a note, where none was asked for or can be."""
    from moeplace.cli.inputs import build_problem

    if options.hw is None or options.model is None:
        out.note("not scored again: give --model and --hw for that")
        return None
    try:
        return build_problem(options, out.note)
    except MoeplaceError as error:
        if wanted:
            raise
        out.note(f"not scored again: {error}")
        return None


def _draw(document: Mapping[str, Any], out: Output) -> None:
    out.line(f"{document['path']}: written for {document['engine']}", bold=True)
    if document["flags"]:
        out.line("load it with:")
        out.line(f"  {' '.join(document['flags'])}", wrap=False)
    for note in document["notes"]:
        out.line(f"- {note}")
    before, after = document["score_before"], document["score"]
    if before is not None and after is not None:
        was, now = (s["step_time_s"] / document["layers"] * 1e6 for s in (before, after))
        filled = f", before filling {was:,.1f}" if document["filled_slots"] else ""
        out.line(f"layer time as written: {now:,.1f} µs{filled}")
