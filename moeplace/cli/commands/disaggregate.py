"""`moeplace disaggregate`: maps for a prefill pool and a decode pool."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from moeplace.cli.options import (
    INSTANCE,
    OUTPUT,
    ExplainOption,
    FormatOption,
    QuietOption,
    SolverOption,
    TimeLimitOption,
)
from moeplace.cli.output import INTERRUPTED, Format, Output


def disaggregate(
    model: Annotated[
        str, typer.Option("--model", "-m", metavar="M", help="Model.", rich_help_panel=INSTANCE)
    ],
    hw: Annotated[
        str, typer.Option(metavar="H", help="System of both pools.", rich_help_panel=INSTANCE)
    ],
    trace: Annotated[
        list[str] | None,
        typer.Option(
            "--trace",
            "-t",
            metavar="F",
            help="Statistics for both phases: traces or loads; default: what is shipped.",
            rich_help_panel=INSTANCE,
        ),
    ] = None,
    decode_hw: Annotated[
        str | None,
        typer.Option(metavar="H", help="System of the decode pool.", rich_help_panel=INSTANCE),
    ] = None,
    prefill_ranks: Annotated[
        int | None, typer.Option(metavar="N", help="EP size.", rich_help_panel=INSTANCE)
    ] = None,
    decode_ranks: Annotated[
        int | None, typer.Option(metavar="N", help="EP size.", rich_help_panel=INSTANCE)
    ] = None,
    prefill_redundant: Annotated[
        int,
        typer.Option(
            metavar="N", min=0, help="Redundant experts a layer.", rich_help_panel=INSTANCE
        ),
    ] = 0,
    decode_redundant: Annotated[
        int,
        typer.Option(
            metavar="N", min=0, help="Redundant experts a layer.", rich_help_panel=INSTANCE
        ),
    ] = 0,
    prefill_tokens: Annotated[
        int | None, typer.Option(metavar="N", help="A rank and step.", rich_help_panel=INSTANCE)
    ] = None,
    decode_tokens: Annotated[
        int | None, typer.Option(metavar="N", help="A rank and step.", rich_help_panel=INSTANCE)
    ] = None,
    solver: SolverOption = "auto",
    time_limit: TimeLimitOption = None,
    seed: Annotated[int, typer.Option(metavar="N", min=0, help="Seed of every random choice.")] = 0,
    output: Annotated[
        str | None,
        typer.Option(
            "--output",
            "-o",
            metavar="PREFIX",
            help="Write PREFIX-prefill.json and PREFIX-decode.json.",
            rich_help_panel=OUTPUT,
        ),
    ] = None,
    explain: ExplainOption = False,
    format: FormatOption = Format.table,
    quiet: QuietOption = False,
) -> None:
    """Make a map for prefill and one for decode from one set of statistics.

    Example: moeplace disaggregate --model deepseek-v3 --hw h100-sxm --prefill-redundant 32
    """
    from moeplace.cli.files import check_writable
    from moeplace.cli.inputs import read_workload
    from moeplace.cli.options import ProblemOptions
    from moeplace.cli.progress import Progress
    from moeplace.hwmodels import load_system
    from moeplace.models import load_model
    from moeplace.placement.formats import save_placement
    from moeplace.replay.phases import PHASES, Pool, place_phases

    out = Output(format, quiet)
    files = {phase: None if output is None else Path(f"{output}-{phase}.json") for phase in PHASES}
    for path in files.values():
        check_writable(path)
    with Progress("reading", quiet=quiet) as progress:
        spec = load_model(model)
        options = ProblemOptions(model=model, trace=trace, holdout="none")
        workload, _ = read_workload(options, spec)
        found = place_phases(
            spec,
            workload,
            Pool(load_system(hw, prefill_ranks), prefill_redundant, prefill_tokens),
            Pool(load_system(decode_hw or hw, decode_ranks), decode_redundant, decode_tokens),
            solver=solver,
            time_limit_s=time_limit,
            seed=seed,
            on_phase=lambda phase, problem: progress.search(
                f"{solver}, {phase}", problem, time_limit
            ),
            on_incumbent=progress.incumbent,
        )
    for phase, path in files.items():
        placement = found.results[phase].placement
        if path is not None and placement is not None:
            save_placement(placement, path, metadata={"phase": phase})
            out.note(f"wrote {path}")
    document = found.to_dict()
    if explain:
        from moeplace.cli.explain.comparison import explain_pools

        document["explain"] = explain_pools(document)
    rows = document["rows"]
    out.show(
        document,
        rows,
        lambda: out.table(
            ["phase", "map", "step ms", "balanc-\nedness", "copies/\ntoken", "replicas"],
            [
                [
                    row["phase"],
                    row["map"],
                    f"{row['step_ms']:,.2f}",
                    f"{row['balancedness']:.3f}",
                    f"{row['copies_per_token']:.2f}",
                    f"{row['replicas']:,}",
                ]
                for row in rows
            ],
            left=(0, 1),
        ),
    )
    if any(result.limit == "interrupted" for result in found.results.values()):
        out.note("interrupted: these are the best placements found until then")
        raise typer.Exit(INTERRUPTED)
