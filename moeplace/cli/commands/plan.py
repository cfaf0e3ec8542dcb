"""`moeplace plan`: the way from one placement to the next."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from moeplace.cli.options import INSTANCE, OUTPUT, ExplainOption, FormatOption, QuietOption
from moeplace.cli.output import Format, Output

if TYPE_CHECKING:
    from moeplace.replay.schedule import Schedule

SHOWN = 12  # rounds in the table


def plan(
    old: Annotated[Path, typer.Argument(metavar="OLD", help="Placement in use.")],
    new: Annotated[Path, typer.Argument(metavar="NEW", help="Placement to go to.")],
    model: Annotated[
        str | None,
        typer.Option("--model", "-m", metavar="M", help="Model.", rich_help_panel=INSTANCE),
    ] = None,
    hw: Annotated[
        str | None,
        typer.Option(
            metavar="H",
            help="System: nearest sources, and times with --model.",
            rich_help_panel=INSTANCE,
        ),
    ] = None,
    weight_dtype: Annotated[
        str | None, typer.Option(metavar="T", help="Expert weights.", rich_help_panel=INSTANCE)
    ] = None,
    staging: Annotated[
        int, typer.Option(metavar="N", help="Buffers of a rank, one expert each.", min=0)
    ] = 1,
    per_rank: Annotated[
        int | None,
        typer.Option(metavar="N", help="Most copies a rank sends or receives at a time.", min=1),
    ] = None,
    relabel: Annotated[
        bool,
        typer.Option(
            "--relabel", help="First rename ranks where no cost changes, so that less moves."
        ),
    ] = False,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Write the schedule as JSON.", rich_help_panel=OUTPUT),
    ] = None,
    explain: ExplainOption = False,
    format: FormatOption = Format.table,
    quiet: QuietOption = False,
) -> None:
    """Order the copies between two placements so that every expert stays served.

    Example: moeplace plan old.json new.json --model deepseek-v3 --hw h100-sxm -o plan.json
    """
    from moeplace.cli.files import check_writable, write_json
    from moeplace.cli.progress import Progress
    from moeplace.errors import UsageError
    from moeplace.hwmodels import load_system
    from moeplace.models import DTYPE_BYTES, load_model
    from moeplace.placement import relabel_ranks
    from moeplace.placement.formats import read_placement
    from moeplace.replay.schedule import check_schedule, plan_migration

    out = Output(format, quiet)
    check_writable(output, (".json",))
    if relabel and hw is None:
        raise UsageError("--relabel needs the system: give it with --hw")
    spec = None if model is None else load_model(model)
    before, after = (read_placement(path, model=spec) for path in (old, new))
    system = None if hw is None else load_system(hw, before.num_ranks)
    if relabel and system is not None:
        after = relabel_ranks(after, before, system.topology)
    expert_bytes = 0.0
    if spec is not None:
        dtype = weight_dtype or (spec.weight_dtype if system is None else system.weight_dtype(spec))
        expert_bytes = spec.expert_params * DTYPE_BYTES[dtype]
    with Progress("ordering copies", quiet=quiet) as progress:
        schedule = plan_migration(
            before,
            after,
            topology=None if system is None else system.topology,
            expert_bytes=expert_bytes,
            staging=staging,
            per_rank=per_rank,
        )
        progress.stage("checking the order")
        check_schedule(schedule)
    document = schedule.to_dict()
    if explain:
        from moeplace.cli.explain.serving import explain_plan

        document["explain"] = explain_plan(document)
    if output is not None:
        write_json(document, output)
    rows = [
        {"round": part["round"], "layer": part["layer"], "seconds": part["seconds"], **copy}
        for part in document["rounds"]
        for copy in part["copies"]
    ]
    out.show(document, rows, lambda: _draw(schedule, document, out))


def _draw(schedule: Schedule, document: dict[str, Any], out: Output) -> None:
    staged = sum(copy.staged for part in schedule.rounds for copy in part.copies)
    out.line(
        f"{document['copies']:,} copies in {document['rounds_in_all']:,} rounds over "
        f"{document['layers']} layers, {staged:,} through buffers ({document['staging']} a rank)",
        bold=True,
    )
    if document["moved_GB"]:
        text = f"{document['moved_GB']:,.1f} GB between ranks"
        if document["seconds"]:
            text += f", {document['seconds']:,.3f} s one round after the other"
        out.line(text)
    out.line("checked: no expert is ever without a slot, no rank over its slots and buffers")
    if not document["rounds"]:
        return
    out.table(
        ["round", "layer", "copies", "staged", "ms"],
        [
            [
                str(part["round"]),
                str(part["layer"]),
                f"{len(part['copies']):,}",
                f"{sum(copy['staged'] for copy in part['copies']):,}",
                f"{1e3 * part['seconds']:,.2f}",
            ]
            for part in document["rounds"][:SHOWN]
        ],
        left=(),
    )
    if len(document["rounds"]) > SHOWN:
        out.line(f"and {len(document['rounds']) - SHOWN:,} more; --format json lists every copy")
