"""`moeplace evaluate`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from moeplace.cli.options import (
    OUTPUT,
    ExplainOption,
    FormatOption,
    MapLayerOption,
    MapOption,
    PlacementArgument,
    ProblemOptions,
    QuietOption,
    takes_problem,
)
from moeplace.cli.output import Format, Output
from moeplace.cli.runs.command import keeps_run


@keeps_run
@takes_problem
def evaluate(
    problem_options: ProblemOptions,
    placement: PlacementArgument,
    result: Annotated[
        Path | None,
        typer.Option(help="Write the whole result as JSON.", rich_help_panel=OUTPUT),
    ] = None,
    map_: MapOption = False,
    map_layer: MapLayerOption = None,
    explain: ExplainOption = False,
    format: FormatOption = Format.table,
    quiet: QuietOption = False,
) -> None:
    """Score a given placement, beside the same baselines and bound.

    Options that are not given are those the placement was made with, if its
    file says so.

    Example: moeplace evaluate placement.json --phase decode
    """
    from moeplace.cli.files import check_writable, write_json
    from moeplace.cli.inputs import build_problem
    from moeplace.cli.progress import Progress
    from moeplace.cli.recall import read_given, recall
    from moeplace.cli.result_view import show_result
    from moeplace.cli.verification import inputs_of

    out = Output(format, quiet)
    check_writable(result, (".json",))
    with Progress("reading", quiet=quiet) as progress:
        from moeplace.formulations.report import evaluate_result
        from moeplace.formulations.verify import certificate_of

        given, options = read_given(recall(problem_options, placement), placement)
        problem = build_problem(options, out.note)
        progress.stage("evaluate")
        found = evaluate_result(problem, given, options.seed)
    document = found.to_dict(placement_path=str(placement))
    if explain:
        from moeplace.cli.explain.result import explain_result

        document["explain"] = explain_result(found, document)
    if result is not None:
        certificate = certificate_of(found, inputs_of(options))
        write_json({**document, "certificate": certificate}, result)
    show_result(found, document, out, with_map=map_, map_layer=map_layer)
