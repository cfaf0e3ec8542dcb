"""`moeplace compare`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from moeplace.cli.options import (
    SEARCH,
    EngineOption,
    FormatOption,
    JobsOption,
    ProblemOptions,
    QuietOption,
    SchedulerOption,
    TimeLimitOption,
    takes_problem,
)
from moeplace.cli.output import INTERRUPTED, Format, Output
from moeplace.parallel import Workers

if TYPE_CHECKING:
    from collections.abc import Mapping


@takes_problem
def compare(
    problem_options: ProblemOptions,
    solvers: Annotated[
        str | None,
        typer.Option(
            metavar="A,B,..",
            help="Solvers to run; default: every baseline and heuristic.",
            rich_help_panel=SEARCH,
        ),
    ] = None,
    time_limit: TimeLimitOption = None,
    jobs: JobsOption = None,
    engine: EngineOption = "threads",
    scheduler: SchedulerOption = None,
    format: FormatOption = Format.table,
    quiet: QuietOption = False,
) -> None:
    """Run several solvers on one problem, side by side.

    Example: moeplace compare --model deepseek-v3 --hw wafer --solvers eplb,lpt,auto
    """
    from moeplace.cli.compiling import reported_compilation
    from moeplace.cli.inputs import build_problem
    from moeplace.cli.progress import Progress

    out = Output(format, quiet)
    workers = Workers(jobs, engine, scheduler)
    with (
        Progress("reading", quiet=quiet) as progress,
        reported_compilation(progress, out.note),
    ):
        from moeplace.formulations.compare import compare as run
        from moeplace.formulations.compare import default_solvers
        from moeplace.formulations.registry import solver_info

        names = [name.strip() for name in (solvers or "").split(",") if name.strip()]
        for name in names:
            solver_info(name)
        problem = build_problem(problem_options, out.note)
        names = names or default_solvers(problem)
        left = iter([*names[1:], "finishing"])
        progress.stage(names[0])
        found = run(
            problem,
            names,
            time_limit_s=time_limit,
            seed=problem_options.seed,
            on_row=lambda _: progress.stage(next(left)),
            workers=workers,
        )
    document = found.to_dict()
    rows = [_flat(row) for row in document["rows"]]
    out.show(document, rows, lambda: _draw(document, out))
    if found.limit == "interrupted":
        out.note("interrupted: the solvers that are not listed did not run")
        raise typer.Exit(INTERRUPTED)


def _flat(row: Mapping[str, Any]) -> dict[str, Any]:
    return {**{k: v for k, v in row.items() if k != "score"}, **(row["score"] or {})}


def _draw(document: Mapping[str, Any], out: Output) -> None:
    from moeplace.cli.result_view import draw_headline, gap_text, objective_text

    problem = document["problem"]
    name, layers = problem["objective"], problem["layers"]
    scale = 1e6 / layers if name == "time" else 1 / layers
    draw_headline(problem, out)
    out.line()
    out.table(
        (
            "solver",
            "layer time\nµs" if name == "time" else f"{name}\na layer",
            "gap",
            "balanc-\nedness",
            "took\ns",
            "status",
            "layers with\nduplicates",
        ),
        [
            (
                row["solver"],
                "–" if row["value"] is None else f"{row['value'] * scale:,.1f}",
                "–" if row["gap"] is None else gap_text(row["gap"]),
                "–" if row["balancedness"] is None else f"{row['balancedness']:.3f}",
                "–" if row["runtime_s"] is None else f"{row['runtime_s']:.1f}",
                row["status"],
                str(row["layers_with_duplicates"] or ""),
            )
            for row in document["rows"]
        ],
        left=(0, 5),
    )
    out.line()
    out.line(
        f"lower bound {objective_text(name, document['lower_bound'], layers)} "
        f"({document['bound']['method']})"
    )
    for row in document["rows"]:
        if row["error"]:
            out.line(f"{row['solver']}: {row['error']}")
