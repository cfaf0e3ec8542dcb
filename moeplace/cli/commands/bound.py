"""`moeplace bound`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from moeplace.cli.options import FormatOption, ProblemOptions, QuietOption, takes_problem
from moeplace.cli.output import Format, Output

if TYPE_CHECKING:
    from collections.abc import Mapping

SCHEMA = "moeplace.bound/1"


@takes_problem
def bound(
    problem_options: ProblemOptions,
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
        from moeplace.formulations.bounds import lower_bound
        from moeplace.formulations.result import describe_problem

        problem = build_problem(problem_options, out.note)
        progress.stage("lower bound")
        found = lower_bound(problem)
    document = {
        "schema": SCHEMA,
        "problem": describe_problem(problem),
        "objective": problem.objective,
        "lower_bound": found.value,
        "method": found.method,
        "terms": dict(found.terms),
        "layer_lower_bound": found.layer_value.tolist(),
    }
    layers = document["problem"]["layer_ids"] or range(problem.num_layers)
    rows = [
        {"layer": layer, "lower_bound": value}
        for layer, value in zip(layers, document["layer_lower_bound"], strict=True)
    ]
    out.show(document, rows, lambda: _draw(document, out))


def _draw(document: Mapping[str, Any], out: Output) -> None:
    from moeplace.cli.result_view import draw_headline, objective_text

    name, layers = document["objective"], document["problem"]["layers"]
    draw_headline(document["problem"], out)
    out.line()
    rows = [
        (term, objective_text(name, value, layers)) for term, value in document["terms"].items()
    ]
    out.table(("term" if name == "time" else "theorem", "at least"), rows)
    out.line()
    out.line(
        f"lower bound {objective_text(name, document['lower_bound'], layers)} "
        f"({document['method']})",
        bold=True,
    )
