"""`moeplace solve`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

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
    MapLayerOption,
    MapOption,
    ProblemOptions,
    QuietOption,
    SchedulerOption,
    SolverOption,
    TimeLimitOption,
    takes_problem,
)
from moeplace.cli.output import INTERRUPTED, Format, Output
from moeplace.cli.runs.command import keeps_run
from moeplace.errors import InfeasibleError, UsageError
from moeplace.parallel import Workers


@keeps_run
@takes_problem
def solve(
    problem_options: ProblemOptions,
    solver: SolverOption = "auto",
    time_limit: TimeLimitOption = None,
    jobs: JobsOption = None,
    engine: EngineOption = "threads",
    scheduler: SchedulerOption = None,
    bound_effort: BoundEffortOption = "fast",
    bound_time_limit: BoundLimitOption = None,
    initial: Annotated[
        Path | None,
        typer.Option(help="Placement to start from; never made worse.", rich_help_panel=SEARCH),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="Write the placement, .json or .npz; `moeplace export` makes engine files of it.",
            rich_help_panel=OUTPUT,
        ),
    ] = None,
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
    """Find a placement, beside today's practice and a lower bound.

    The table shows the time of a layer and its parts for contiguous, random
    and EPLB placement and for the one found, then how far from optimal it can
    be at most. Ctrl-C keeps the best so far.

    Example: moeplace solve --model deepseek-v3 --hw wafer -o placement.json
    """
    from moeplace.cli.compiling import reported_compilation
    from moeplace.cli.files import check_writable, write_json, write_placement
    from moeplace.cli.inputs import AUTO, build_problem
    from moeplace.cli.progress import Progress
    from moeplace.cli.result_view import show_result
    from moeplace.cli.verification import inputs_of

    out = Output(format, quiet)
    workers = Workers(jobs, engine, scheduler)
    check_writable(output, (".json", ".npz"))
    check_writable(result, (".json",))
    with (
        Progress("reading", quiet=quiet) as progress,
        reported_compilation(progress, out.note),
    ):
        from moeplace.formulations.bounds import EFFORTS, lower_bound
        from moeplace.formulations.redundancy import solve_redundancy
        from moeplace.formulations.registry import solver_info
        from moeplace.formulations.solve import solve as run
        from moeplace.formulations.verify import certificate_of
        from moeplace.placement.formats import read_placement

        if bound_effort not in EFFORTS:
            raise UsageError(f"--bound-effort is {bound_effort!r}; use {' or '.join(EFFORTS)}")
        solver_info(solver)  # a typo shows before anything is read
        problem = build_problem(problem_options, out.note, auto=True)
        start = None
        if initial is not None:
            start = read_placement(initial, model=problem.model, num_ranks=problem.num_ranks)
        seed, tell = problem_options.seed, progress.incumbent
        redundancy, bound = None, None
        if bound_effort != "fast":
            if problem_options.redundant == AUTO:
                raise UsageError("--redundant auto bounds several problems; --bound-effort fast")
            progress.stage("lower bound")
            bound = lower_bound(problem, bound_effort, bound_time_limit)
        progress.search(solver, problem, time_limit)
        if problem_options.redundant == AUTO:
            if start is not None or problem_options.slots_per_rank is not None:
                raise UsageError("--redundant auto finds its own start and slots")
            redundancy = solve_redundancy(
                problem, solver, time_limit, seed, on_incumbent=tell, workers=workers
            )
            found = redundancy.result
        else:
            found = run(
                problem,
                solver,
                time_limit,
                seed,
                start,
                on_incumbent=tell,
                workers=workers,
                bound=bound,
            )
        problem = found.problem
    document = found.to_dict(placement_path=None if output is None else str(output))
    if redundancy is not None:
        document["redundancy"] = {
            "steps": [{"redundant": n, "value": value} for n, value in redundancy.steps],
            "stopped": redundancy.stopped,
        }
    if explain:
        from moeplace.cli.explain.result import explain_result

        document["explain"] = explain_result(found, document)
    if output is not None and found.placement is not None:
        write_placement(found.placement, output, problem_options, problem, document)
    if result is not None:
        search = {
            "time_limit": time_limit,
            "bound_effort": None if bound_effort == "fast" else bound_effort,
            "bound_time_limit": bound_time_limit,
            "initial": None if initial is None else str(initial),
        }
        certificate = certificate_of(found, inputs_of(problem_options, search))
        write_json({**document, "certificate": certificate}, result)
    show_result(found, document, out, with_map=map_, map_layer=map_layer)
    if found.limit == "interrupted":
        out.note("interrupted: this is the best placement found until then")
        raise typer.Exit(INTERRUPTED)
    if found.violations:
        raise typer.Exit(InfeasibleError.exit_code)
