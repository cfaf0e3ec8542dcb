"""`moeplace hw estimate`: tokens per second of a whole model."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from moeplace.cli.options import FormatOption
from moeplace.cli.output import Format, Output


def estimate(
    model: Annotated[str, typer.Option("--model", "-m", metavar="M", help="Model.")],
    hw: Annotated[str, typer.Option("--hw", metavar="H", help="GPU system.")],
    ranks: Annotated[int | None, typer.Option(metavar="N", help="EP size.")] = None,
    context: Annotated[
        int, typer.Option(metavar="N", help="Prompt length in prefill, cache length in decode.")
    ] = 2048,
    prefill_tokens: Annotated[
        int, typer.Option(metavar="N", help="Tokens of a prefill step on each GPU.")
    ] = 16384,
    decode_batch: Annotated[
        int, typer.Option(metavar="N", help="Requests of a decode step on each GPU.")
    ] = 128,
    redundant: Annotated[int, typer.Option(metavar="N", help="Redundant experts.")] = 0,
    imbalance: Annotated[
        float, typer.Option(metavar="X", help="Pairs of the fullest rank over the mean.")
    ] = 1.0,
    in_situ: Annotated[
        float,
        typer.Option(metavar="X", help="Communication in a server over the kernel alone."),
    ] = 1.5,
    overlap: Annotated[
        bool, typer.Option(help="Two micro-batches hide the shorter of compute and communication.")
    ] = True,
    expert_dtype: Annotated[
        str | None, typer.Option(metavar="D", help="Type of the experts; default: the model's.")
    ] = None,
    format: FormatOption = Format.table,
) -> None:
    """Estimate tokens per second and GPU, in prefill and in decode.

    Fitted kernels, attention and dense weights by roofline; no scheduler, no KV transfer, no
    multi-token prediction. `moeplace hw validate` shows it beside published deployments.

    Example: moeplace hw estimate --model deepseek-v3 --hw h100-sxm --ranks 72 --decode-batch 256
    """
    from moeplace.hwmodels import load_system
    from moeplace.hwmodels.calibrate.estimate import estimate as run
    from moeplace.models import load_model

    out = Output(format)
    spec, system = load_model(model), load_system(hw, ranks)
    rows: list[dict[str, Any]] = []
    notes: list[str] = []
    for phase, tokens in (("prefill", prefill_tokens), ("decode", decode_batch)):
        found = run(
            spec,
            system,
            phase,
            tokens,
            context,
            redundant=redundant,
            imbalance=imbalance,
            in_situ_factor=in_situ,
            overlap=overlap,
            expert_dtype=expert_dtype,
        )
        notes += found.notes
        rows.append(
            {
                "phase": phase,
                "ranks": system.ranks,
                "tokens_per_rank": tokens,
                "tokens_per_s_per_gpu": found.tokens_per_s,
                "step_ms": found.step_s * 1e3,
                "attention_ms": found.attention_s * 1e3,
                "dense_ms": found.dense_s * 1e3,
                "experts_ms": found.expert_s * 1e3,
                "communication_ms": found.communication_s * 1e3,
                "in_situ_factor": in_situ,
                "overlap": overlap,
            }
        )
    for note in dict.fromkeys(notes):
        out.note(note)

    def draw() -> None:
        out.line(f"{spec.name} on {system.name}, {system.ranks} ranks, context {context:,}")
        names = ("attention_ms", "dense_ms", "experts_ms", "communication_ms")
        out.table(
            (
                "",
                "tokens\na GPU",
                "tokens/s\na GPU",
                "step\nms",
                "atten-\ntion",
                "dense",
                "experts",
                "commu-\nnication",
            ),
            [
                (
                    row["phase"],
                    f"{row['tokens_per_rank']:,}",
                    f"{row['tokens_per_s_per_gpu']:,.0f}",
                    f"{row['step_ms']:.1f}",
                    *(f"{row[name]:.1f}" for name in names),
                )
                for row in rows
            ],
        )
        how = "the longer of compute and communication" if overlap else "one after the other"
        out.line(f"in-situ factor {in_situ:g}; {how}")

    out.show(rows, rows, draw)
