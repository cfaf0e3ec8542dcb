"""`moeplace bound`."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any

import typer

from moeplace.cli.options import (
    SEARCH,
    BoundEffortOption,
    BoundLimitOption,
    ExplainOption,
    FormatOption,
    ProblemOptions,
    QuietOption,
    takes_problem,
)
from moeplace.cli.output import Format, Output
from moeplace.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from moeplace.formulations.bounds import Bound
    from moeplace.placement import Problem

SCHEMA = "moeplace.bound/1"
RELAXATION = "linear relaxation of the exact program"


@takes_problem
def bound(
    problem_options: ProblemOptions,
    bound_effort: BoundEffortOption = "fast",
    bound_time_limit: BoundLimitOption = None,
    relaxation: Annotated[
        bool,
        typer.Option(
            "--relaxation",
            help="Also solve the exact program without integrality; small problems only.",
            rich_help_panel=SEARCH,
        ),
    ] = False,
    explain: ExplainOption = False,
    format: FormatOption = Format.table,
    quiet: QuietOption = False,
) -> None:
    """Show what no placement can beat, and the theorem behind it.

    Example: moeplace bound --model deepseek-v3 --hw wafer --objective balance
    """
    from moeplace.cli.inputs import build_problem
    from moeplace.cli.progress import Progress

    out = Output(format, quiet)
    with Progress("reading", quiet=quiet) as progress:
        from moeplace.formulations.bounds import EFFORTS, lower_bound
        from moeplace.formulations.result import describe_problem

        if bound_effort not in EFFORTS:
            raise UsageError(f"--bound-effort is {bound_effort!r}; use {' or '.join(EFFORTS)}")
        problem = build_problem(problem_options, out.note)
        progress.stage("lower bound")
        found = lower_bound(problem, bound_effort, bound_time_limit)
        if relaxation:
            progress.stage("linear relaxation")
            found = _with_relaxation(problem, found, bound_time_limit)
    document = {
        "schema": SCHEMA,
        "problem": describe_problem(problem),
        "objective": problem.objective,
        "lower_bound": found.value,
        "method": found.method,
        "terms": dict(found.terms),
        "effort": found.effort,
        "theorems": dict(found.theorems),
        "layer_lower_bound": found.layer_value.tolist(),
    }
    if explain:
        from moeplace.cli.explain.result import explain_bound

        document["explain"] = explain_bound(document)
    layers = document["problem"]["layer_ids"] or range(problem.num_layers)
    rows = [
        {"layer": layer, "lower_bound": value}
        for layer, value in zip(layers, document["layer_lower_bound"], strict=True)
    ]
    out.show(document, rows, lambda: _draw(document, out))


def _with_relaxation(problem: Problem, found: Bound, time_limit_s: float | None) -> Bound:
    """Return the bound with what the linear program gives, if all of its parts were solved."""
    from moeplace.formulations.exact import linear_relaxation

    relaxed = linear_relaxation(problem, time_limit_s=time_limit_s)
    theorems = {**(found.theorems or {found.method: found.value}), RELAXATION: relaxed.value}
    if relaxed.value <= found.value or relaxed.part_value.size != problem.num_layers:
        return replace(found, theorems=theorems)
    return replace(
        found,
        value=relaxed.value,
        method=RELAXATION,
        theorems=theorems,
        layer_value=relaxed.part_value,
    )


def _draw(document: Mapping[str, Any], out: Output) -> None:
    from moeplace.cli.result_view import draw_headline, objective_text

    name, layers = document["objective"], document["problem"]["layers"]
    draw_headline(document["problem"], out)
    out.line()
    if name == "time":
        rows = [
            (term, objective_text(name, value, layers)) for term, value in document["terms"].items()
        ]
        out.table(("term", "at least"), rows)
        out.line()
    tried = [
        (theorem, _figure(name, theorem, value, layers))
        for theorem, value in (document["theorems"] or document["terms"]).items()
    ]
    out.table(("theorem", "gives"), tried)
    out.line()
    out.line(
        f"lower bound {objective_text(name, document['lower_bound'], layers)} "
        f"({document['method']})",
        bold=True,
    )


def _figure(name: str, theorem: str, value: float, layers: int) -> str:
    from moeplace.cli.result_view import objective_text

    if theorem.startswith("touched"):
        return f"{value:.4f} a token"
    return objective_text(name, value, layers)
