"""`moeplace gating`."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any

import typer

from moeplace.cli.options import SEARCH, WHAT, WHERE, ExplainOption, FormatOption, QuietOption
from moeplace.cli.output import Format, Output
from moeplace.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

SCHEMA = "moeplace.gating/1"
MB = 1e6


def gating(
    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            "-m",
            metavar="M",
            help="Model; without it the paper's workloads.",
            rich_help_panel=WHAT,
        ),
    ] = None,
    capacity: Annotated[
        float | None,
        typer.Option(
            "--capacity",
            metavar="C",
            help="Rows a rank sends to every expert, as a share of its tokens; needed with "
            "--model.",
            rich_help_panel=WHAT,
        ),
    ] = None,
    tokens_per_rank: Annotated[
        int,
        typer.Option(
            "--tokens-per-rank",
            metavar="N",
            help="Tokens of a rank and step.",
            rich_help_panel=WHAT,
        ),
    ] = 4096,
    hw: Annotated[
        str | None,
        typer.Option(
            "--hw",
            metavar="H",
            help="System; default: the paper's nodes of 8 V100.",
            rich_help_panel=WHERE,
        ),
    ] = None,
    ranks: Annotated[
        int | None,
        typer.Option(
            "--ranks",
            metavar="N",
            help="EP size; default: the system's own.",
            rich_help_panel=WHERE,
        ),
    ] = None,
    phase: Annotated[
        str, typer.Option("--phase", metavar="P", help="prefill or decode.", rich_help_panel=WHAT)
    ] = "prefill",
    skew: Annotated[
        float,
        typer.Option(
            "--skew",
            metavar="X",
            min=0.0,
            help="Zipf exponent of the experts' loads; 0: equal.",
            rich_help_panel=WHAT,
        ),
    ] = 0.0,
    launch_us: Annotated[
        float | None,
        typer.Option(
            "--launch-us",
            metavar="X",
            min=0.0,
            help="Host time of a kernel, with --model; default 10, about 0 with CUDA graphs.",
            rich_help_panel=WHERE,
        ),
    ] = None,
    seed: Annotated[
        int,
        typer.Option(
            "--seed", metavar="N", min=0, help="Which experts are popular.", rich_help_panel=SEARCH
        ),
    ] = 0,
    explain: ExplainOption = False,
    format: FormatOption = Format.table,
    quiet: QuietOption = False,
) -> None:
    """Compare gating with fixed capacities and gating without padding.

    Bytes, operations, memory and seconds of one step. Without --model: the three workloads of
    arXiv 2303.06182 on one, two and four nodes, beside its figures.

    Example: moeplace gating --model mixtral-8x7b --capacity 1 --hw h100-sxm --ranks 8
    """
    out = Output(format, quiet)
    if model is None:
        if (capacity, hw, ranks, launch_us) != (None, None, None, None):
            raise UsageError("--capacity, --hw, --ranks and --launch-us need --model")
        _paper(skew, seed, explain, out)
        return
    if capacity is None:
        raise UsageError("give --capacity with --model; 1.0 means room for every token")
    from moeplace.hwmodels import PHASES, load_system
    from moeplace.models import load_model
    from moeplace.replay.gating import MODES, Gating, gating_cost
    from moeplace.replay.gating.constants import PLATFORM, gating_constants
    from moeplace.replay.gating.paper import zipf_share

    if phase not in PHASES:
        raise UsageError(f"--phase is {phase!r}; use {' or '.join(PHASES)}")
    spec = load_model(model)
    setting = Gating(
        spec,
        load_system(hw or PLATFORM, ranks),
        capacity,
        phase,
        zipf_share(spec.num_experts, skew, seed),
    )
    known = gating_constants()
    if launch_us is not None:
        known = replace(known, launch_s=launch_us * 1e-6)
    rows = []
    for mode in MODES:
        cost = gating_cost(setting, mode, tokens_per_rank, known)
        rows.append(
            {
                "gating": mode,
                "rows_per_rank": cost.rows,
                "waste": cost.waste,
                "dropped_share": cost.dropped_share,
                "exchange_MB": cost.exchange_bytes / MB,
                "tflop": (cost.gate_flops + cost.expert_flops) / 1e12,
                "gate_tflop": cost.gate_flops / 1e12,
                "activation_MB": cost.activation_bytes / MB,
                "gate_ms": cost.gate_s * 1e3,
                "exchange_ms": cost.exchange_s * 1e3,
                "expert_ms": cost.expert_s * 1e3,
                "step_ms": cost.step_s * 1e3,
                "tokens_per_s": cost.tokens_per_s * setting.system.ranks,
            }
        )
    document = {
        "schema": SCHEMA,
        "model": spec.name,
        "system": setting.system.name,
        "ranks": setting.system.ranks,
        "capacity": capacity,
        "tokens_per_rank": tokens_per_rank,
        "rows": rows,
    }
    if explain:
        from moeplace.cli.explain.serving import explain_gating

        document["explain"] = explain_gating(document)
    out.show(document, rows, lambda: _draw(document, out))


def _draw(document: Mapping[str, Any], out: Output) -> None:
    out.line(
        f"{document['model']} on {document['ranks']} ranks of {document['system']}, "
        f"{document['tokens_per_rank']:,} tokens a rank, capacity {document['capacity']:g}; "
        "one layer of one rank:"
    )
    shown = (
        ("rows", "rows_per_rank", ".0f"),
        ("waste", "waste", ".2f"),
        ("drops", "dropped_share", ".0%"),
        ("MB\nsent", "exchange_MB", ".0f"),
        ("TFLOP", "tflop", ".2f"),
        ("MB\nmemory", "activation_MB", ".0f"),
        ("ms\ngate", "gate_ms", ".2f"),
        ("ms\nsend", "exchange_ms", ".2f"),
        ("ms\nexperts", "expert_ms", ".2f"),
        ("ms a\nstep", "step_ms", ".1f"),
    )
    out.table(
        ("gating", *(header for header, _, _ in shown)),
        [
            (row["gating"], *(format(row[key], f) for _, key, f in shown))
            for row in document["rows"]
        ],
    )


def _paper(skew: float, seed: int, explain: bool, out: Output) -> None:
    from moeplace.replay.gating import paper_rows

    rows = []
    for nodes in (1, 2, 4):
        for row in paper_rows(nodes, skew, seed):
            said = row.case.published if nodes == 1 else {"most": row.case.published["most"]}
            rows.append(
                {
                    "workload": row.case.name,
                    "nodes": nodes,
                    "waste": row.waste,
                    "paper_waste": said.get("waste"),
                    "same_batch": row.same_batch,
                    "best_batch": row.best_batch,
                    "paper_speedup": said.get("one_node", said.get("most")),
                    "over_sparse": row.over_sparse,
                    "paper_over_tutel": said.get("over_tutel"),
                    "static_activation_GiB": row.static.activation_bytes / 2**30,
                    "dynamic_activation_GiB": row.dynamic.activation_bytes / 2**30,
                    "paper_activation_GB": said.get("activation_GB"),
                    "memory_ratio": row.memory_ratio if "peak_GB" in row.case.published else None,
                    "paper_memory_ratio": said.get("memory_ratio"),
                    "static_fits": row.static_fits,
                }
            )
    document: dict[str, Any] = {"schema": SCHEMA, "skew": skew, "rows": rows}
    if explain:
        from moeplace.cli.explain.serving import explain_gating_paper

        document["explain"] = explain_gating_paper(document)
    out.show(document, rows, lambda: _draw_paper(rows, out))


def _draw_paper(rows: list[dict[str, Any]], out: Output) -> None:
    def number(value: float | None, form: str = ".2f") -> str:
        return "" if value is None else format(value, form)

    def most(row: Mapping[str, Any]) -> str:
        said = row["paper_speedup"]
        return f"{said:.2f}" if row["nodes"] == 1 else f"≤ {said:.2f}"

    out.line("Tokens per second, dynamic gating over fixed capacities:")
    out.table(
        (
            "workload",
            "nodes",
            "E·C/k",
            "same\nbatch",
            "own\nbatch",
            "paper",
            "over\nno mask",
            "paper",
        ),
        [
            (
                row["workload"],
                str(row["nodes"]),
                number(row["waste"], ".1f"),
                number(row["same_batch"]),
                number(row["best_batch"]),
                most(row),
                number(row["over_sparse"]),
                number(row["paper_over_tutel"]),
            )
            for row in rows
        ],
    )
    out.line()
    out.line("Memory of a GPU on one node, GiB of activations, and peak, static over dynamic:")
    out.table(
        ("workload", "static", "dynamic", "saved", "paper\nsaved", "peak ×", "paper"),
        [
            (
                row["workload"],
                number(row["static_activation_GiB"]),
                number(row["dynamic_activation_GiB"]),
                number(row["static_activation_GiB"] - row["dynamic_activation_GiB"]),
                number(row["paper_activation_GB"][0] - row["paper_activation_GB"][1]),
                number(row["memory_ratio"]),
                number(row["paper_memory_ratio"]),
            )
            for row in rows
            if row["paper_activation_GB"] is not None
        ],
    )
