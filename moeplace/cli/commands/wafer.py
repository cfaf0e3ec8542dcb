"""`moeplace wafer`: the wafer as one GPU, whose dies fetch weights from each other."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from moeplace.cli.options import SEARCH, WHAT, WHERE, ExplainOption, FormatOption, QuietOption
from moeplace.cli.output import Format, Output
from moeplace.cli.runs.command import keeps_run

if TYPE_CHECKING:
    from moeplace.replay.wafer.study import WaferReport

DEFAULT = "base,ep,pred,allo,allo+pred,moeplace"


@keeps_run
def wafer(
    model: Annotated[
        str, typer.Option("--model", "-m", metavar="M", help="Model.", rich_help_panel=WHAT)
    ],
    hw: Annotated[
        str, typer.Option("--hw", metavar="H", help="Wafer or mesh:RxC.", rich_help_panel=WHERE)
    ] = "wafer",
    batch: Annotated[
        int,
        typer.Option(metavar="N", min=1, help="Requests decoded together.", rich_help_panel=WHAT),
    ] = 4096,
    layers: Annotated[
        int, typer.Option(metavar="N", min=1, help="The first N MoE layers.", rich_help_panel=WHAT)
    ] = 4,
    steps: Annotated[
        int, typer.Option(metavar="N", min=1, help="Decode steps.", rich_help_panel=WHAT)
    ] = 8,
    trace: Annotated[
        str | None,
        typer.Option(
            "--trace",
            "-t",
            metavar="F",
            help="Trace of tokens; half of its requests are the batch, half are history. "
            "Default: synthetic, like that of the model.",
            rich_help_panel=WHAT,
        ),
    ] = None,
    strategies: Annotated[
        str,
        typer.Option(metavar="S,..", help="Strategies, comma separated.", rich_help_panel=SEARCH),
    ] = DEFAULT,
    weight_dtype: Annotated[
        str,
        typer.Option(
            metavar="T", help="Expert weights; the paper has 2 bytes.", rich_help_panel=WHERE
        ),
    ] = "bf16",
    ignore_capacity: Annotated[
        bool,
        typer.Option(
            "--ignore-capacity",
            help="Let copies exceed HBM, as the paper did.",
            rich_help_panel=WHERE,
        ),
    ] = False,
    multicast: Annotated[
        bool,
        typer.Option(
            "--multicast",
            help="Dies that wait for the same weights share a tree of XY routes.",
            rich_help_panel=WHERE,
        ),
    ] = False,
    seed: Annotated[
        int, typer.Option(min=0, metavar="N", help="Seed.", rich_help_panel=SEARCH)
    ] = 0,
    explain: ExplainOption = False,
    format: FormatOption = Format.table,
    quiet: QuietOption = False,
) -> None:
    """Compare who computes what on a wafer whose dies fetch expert weights.

    One decode step after the other, layer by layer, in an event-driven model
    of the dies of arXiv 2510.05497: base, ep, pred, allo and allo+pred are
    the paper's, moeplace is ours.

    Example: moeplace wafer --model deepseek-v3 --hw wafer --batch 4096
    """
    from moeplace.cli.compiling import reported_compilation
    from moeplace.cli.progress import Progress

    out = Output(format, quiet)
    with Progress("reading", quiet=quiet) as progress, reported_compilation(progress, out.note):
        from moeplace.replay.wafer.study import wafer_study
        from moeplace.traces import load_trace

        report = wafer_study(
            model,
            hw,
            batch=batch,
            layers=layers,
            steps=steps,
            trace=None if trace is None else load_trace(trace),
            strategies=[name.strip() for name in strategies.split(",") if name.strip()],
            seed=seed,
            weight_dtype=weight_dtype,
            enforce_capacity=not ignore_capacity,
            multicast=multicast,
            progress=progress.stage,
        )
    document = report.to_dict()
    if explain:
        from moeplace.cli.explain.models import explain_wafer

        document["explain"] = explain_wafer(document)
    out.show(document, document["rows"], lambda: _draw(report, out))
    if not report.fits:
        out.note(
            f"{report.model} does not fit: its experts need {report.needed_GB:.1f} GB of "
            f"{report.weight_dtype} weights on the fullest die, which has "
            f"{report.usable_GB:.1f} GB of HBM for them; capacity is not enforced, as in the paper "
            "(--weight-dtype fp8 halves the weights)"
        )


def _draw(report: WaferReport, out: Output) -> None:
    out.line(
        f"{report.model} on {report.system}, batch {report.batch:,}, {report.layers} MoE layers, "
        f"{report.steps} decode steps ({report.workload}, {report.kind}); capacity "
        f"{report.capacity}",
        bold=True,
    )
    out.line(f"no strategy exceeds {report.bound_tokens_per_s:,.0f} tokens/s in this model")
    out.table(
        ("strategy", "tokens/s", "over\nbase", "of\nbound", "hops", "HBM\nTB", "die-to-die\nTB",
         "copies", "evicted"),
        [
            (
                row.strategy,
                f"{row.throughput_tokens_per_s:,.0f}",
                "-" if row.speedup is None else f"{row.speedup:.2f}",
                f"{row.of_bound:.3f}",
                f"{row.hops:,}",
                f"{row.hbm_bytes / 1e12:.3f}",
                f"{row.d2d_bytes / 1e12:.3f}",
                f"{row.copies:,}",
                f"{row.evicted:,}",
            )
            for row in report.rows
        ],
    )  # fmt: skip
