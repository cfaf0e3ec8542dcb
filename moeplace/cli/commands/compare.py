"""`moeplace compare`."""

from __future__ import annotations

from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from moeplace.cli.options import (
    OUTPUT,
    SEARCH,
    BoundEffortOption,
    BoundLimitOption,
    EngineOption,
    ExplainOption,
    FormatOption,
    JobsOption,
    ProblemOptions,
    QuietOption,
    SchedulerOption,
    TimeLimitOption,
    takes_problem,
)
from moeplace.cli.output import INTERRUPTED, Format, Output
from moeplace.cli.runs.command import keeps_run
from moeplace.errors import UsageError
from moeplace.parallel import Workers

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from moeplace.placement import Problem

PROBLEM = "problem"  # what the problem given by options is called
MEASURES = ("value", "time")


@keeps_run
@takes_problem
def compare(
    problem_options: ProblemOptions,
    instances: Annotated[
        str | None,
        typer.Option(
            metavar="A,B,..",
            help="Instances of `moeplace instance list`, or all of tiny, layer, full; instead of "
            "a problem given by options.",
            rich_help_panel=SEARCH,
        ),
    ] = None,
    solvers: Annotated[
        str | None,
        typer.Option(
            metavar="A,B,..",
            help="Solvers to run, exact ones too; default: every baseline and heuristic.",
            rich_help_panel=SEARCH,
        ),
    ] = None,
    seeds: Annotated[
        str | None,
        typer.Option(
            metavar="N|A,B,..",
            help="How many seeds, from --seed on, or which; default: --seed alone.",
            rich_help_panel=SEARCH,
        ),
    ] = None,
    time_limit: TimeLimitOption = None,
    warm_up: Annotated[
        bool,
        typer.Option(
            "--warm-up",
            help="Run each solver for a moment first, so that no time counts that loads code.",
            rich_help_panel=SEARCH,
        ),
    ] = False,
    jobs: JobsOption = None,
    engine: EngineOption = "threads",
    scheduler: SchedulerOption = None,
    bound_effort: BoundEffortOption = "fast",
    bound_time_limit: BoundLimitOption = None,
    store: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="Keep finished runs here; those that are there are not run again.",
            rich_help_panel=OUTPUT,
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            help="Write all runs as .parquet, .csv or .json.",
            rich_help_panel=OUTPUT,
        ),
    ] = None,
    plot: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Draw the gap of each solver against time, .png or .svg.",
            rich_help_panel=OUTPUT,
        ),
    ] = None,
    profile_plot: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Draw the performance profile.", rich_help_panel=OUTPUT),
    ] = None,
    profile: Annotated[
        str,
        typer.Option(
            metavar="M",
            help="What the profile compares: value, or time to within 1 % of the best value.",
            rich_help_panel=OUTPUT,
        ),
    ] = "value",
    explain: ExplainOption = False,
    format: FormatOption = Format.table,
    quiet: QuietOption = False,
) -> None:
    """Run several solvers on one problem or many, side by side with the bound.

    On several instances it also shows sums over them and a performance
    profile (Dolan and Moré, 2002).

    Example: moeplace compare --model deepseek-v3 --hw wafer --solvers eplb,lpt,auto
    """
    from moeplace.cli.compare_view import draw_comparison
    from moeplace.cli.compiling import reported_compilation
    from moeplace.cli.files import check_writable
    from moeplace.cli.inputs import build_problem
    from moeplace.cli.progress import Progress

    out = Output(format, quiet)
    workers = Workers(jobs, engine, scheduler)
    check_writable(output, (".parquet", ".csv", ".json"))
    for picture in (plot, profile_plot):
        check_writable(picture, (".png", ".svg", ".pdf"))
    if profile not in MEASURES:
        raise UsageError(f"--profile is {profile!r}; use {' or '.join(MEASURES)}")
    chosen = _seeds(seeds, problem_options.seed)
    with (
        Progress("reading", quiet=quiet) as progress,
        reported_compilation(progress, out.note),
    ):
        from moeplace.formulations.bounds import EFFORTS
        from moeplace.formulations.registry import solver_info
        from moeplace.formulations.study import compare_instances

        if bound_effort not in EFFORTS:
            raise UsageError(f"--bound-effort is {bound_effort!r}; use {' or '.join(EFFORTS)}")
        names = _words(solvers)
        for name in names:
            solver_info(name)  # a typo shows before anything is read
        done = count(1)

        def begin(instance: str, problem: Problem, solver: str, seed: int) -> None:
            where = "" if instance == PROBLEM else f", {instance}"
            progress.search(f"{solver}, run {next(done)}{where}", problem, time_limit)

        found = compare_instances(
            _instances(problem_options, instances)
            if instances is not None
            else {PROBLEM: build_problem(problem_options, out.note)},
            names or None,
            seeds=chosen,
            time_limit_s=time_limit,
            store=store,
            bound_effort=bound_effort,
            bound_time_limit_s=bound_time_limit,
            warm_up=warm_up,
            on_run=begin,
            on_incumbent=progress.incumbent,
            workers=workers,
        )
    document = found.to_dict()
    if explain:
        from moeplace.cli.explain.comparison import explain_comparison

        document["explain"] = explain_comparison(document)
    if output is not None:
        from moeplace.formulations.study.write import save_study

        save_study(found, output)
    if plot is not None or profile_plot is not None:
        from moeplace.formulations.study.plots import plot_gaps, plot_profile

        _draw_file(plot, lambda path: plot_gaps(found, path))
        _draw_file(profile_plot, lambda path: plot_profile(found, path, profile))
    rows = [_flat(row) for row in document["rows"]]
    out.show(document, rows, lambda: draw_comparison(document, profile, out))
    for better in found.improved():
        out.note(
            f"{better.solver}, seed {better.seed}, found {better.value!r} on {better.instance}: "
            "better than the best known value; please report it"
        )
    if found.limit == "interrupted":
        out.note("interrupted: what is not listed did not run")
        raise typer.Exit(INTERRUPTED)


def _draw_file(path: Path | None, draw: Callable[[Path], None]) -> None:
    if path is not None:
        draw(path)


def _instances(options: ProblemOptions, text: str) -> list[str]:
    from moeplace.formulations.instances import list_instances

    if options.model is not None or options.hw is not None:
        raise UsageError("--instances names whole problems; leave --model and --hw out")
    found: list[str] = []
    for name in _words(text):
        found += list_instances(name) or [name]
    if not found:
        raise UsageError("--instances is empty; see `moeplace instance list`")
    return found


def _seeds(text: str | None, first: int) -> list[int]:
    """Return the seeds of --seeds: a count, or a list where there is a comma."""
    if text is None:
        return [first]
    try:
        numbers = [int(word) for word in _words(text)]
    except ValueError:
        numbers = []
    if not numbers or min(numbers) < 0:
        raise UsageError(f"--seeds is {text!r}; give a count, or seeds with commas")
    if "," in text:
        return numbers
    if numbers[0] < 1:
        raise UsageError("--seeds is 0; give at least 1")
    return [first + number for number in range(numbers[0])]


def _words(text: str | None) -> list[str]:
    return [word.strip() for word in (text or "").split(",") if word.strip()]


def _flat(row: Mapping[str, Any]) -> dict[str, Any]:
    return {**{k: v for k, v in row.items() if k != "score"}, **(row["score"] or {})}
