"""`moeplace prefill-aware`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from moeplace.cli.options import SEARCH, WHAT, WHERE, ExplainOption, FormatOption, QuietOption
from moeplace.cli.output import Format, Output
from moeplace.errors import InputError, UsageError

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from moeplace.models import ModelSpec
    from moeplace.traces import Workload

SCHEMA = "moeplace.prefill-aware/1"
BATCHES = (1024, 4096, 8192, 16384)


def prefill_aware(
    model: Annotated[
        str, typer.Option("--model", "-m", metavar="M", help="Model.", rich_help_panel=WHAT)
    ],
    hw: Annotated[str, typer.Option("--hw", metavar="H", help="System.", rich_help_panel=WHERE)],
    ranks: Annotated[
        list[int] | None,
        typer.Option("--ranks", metavar="N", help="EP size; repeatable.", rich_help_panel=WHERE),
    ] = None,
    batch: Annotated[
        list[int] | None,
        typer.Option(
            "--batch",
            metavar="N",
            help="Tokens of a decode step, all ranks; repeatable. Default: 1024, 4096, 8192, "
            "16384.",
            rich_help_panel=WHAT,
        ),
    ] = None,
    trace: Annotated[
        str | None,
        typer.Option(
            "--trace",
            "-t",
            metavar="F",
            help="Trace of tokens of both phases.",
            rich_help_panel=WHAT,
        ),
    ] = None,
    prefill: Annotated[
        str | None,
        typer.Option("--prefill", metavar="F", help="Loads of the prefill.", rich_help_panel=WHAT),
    ] = None,
    decode: Annotated[
        str | None,
        typer.Option("--decode", metavar="F", help="Loads of the decode.", rich_help_panel=WHAT),
    ] = None,
    history: Annotated[
        str | None,
        typer.Option(
            "--history",
            metavar="F",
            help="Decode loads of other requests, to compare.",
            rich_help_panel=WHAT,
        ),
    ] = None,
    skip_layer: Annotated[
        list[int] | None,
        typer.Option(
            "--skip-layer",
            metavar="L",
            help="Layer id to leave out; repeatable.",
            rich_help_panel=WHAT,
        ),
    ] = None,
    seed: Annotated[
        int,
        typer.Option("--seed", metavar="N", min=0, help="Of the solver.", rich_help_panel=SEARCH),
    ] = 0,
    explain: ExplainOption = False,
    format: FormatOption = Format.table,
    quiet: QuietOption = False,
) -> None:
    """Place experts for a decode by what its prefill used.

    Remap and Dup of arXiv 2510.05497 with its Default, Best and Worst, and EPLB
    and moeplace fitted on the same loads. Times of the expert kernels, over
    the default's.

    Example: moeplace prefill-aware --model deepseek-v3 --hw h200-sxm --ranks 8
    """
    from moeplace.cli.progress import Progress

    out = Output(format, quiet)
    rows: list[dict[str, Any]] = []
    with Progress("reading", quiet=quiet) as progress:
        from moeplace.hwmodels import load_system
        from moeplace.models import load_model
        from moeplace.replay.prefill_aware import prefill_aware as study

        spec = load_model(model)
        skipped = set(skip_layer or ())
        first, second = _loads(spec, trace, prefill, decode)
        past = None if history is None else _read(history, spec, "decode")
        first, second = _without(first, skipped), _without(second, skipped)
        past = None if past is None else _without(past, skipped)
        sizes: Sequence[int | None] = ranks or [None]
        for size in sizes:
            system = load_system(hw, size)
            for tokens in batch or BATCHES:
                place = f"EP{system.ranks}, batch {tokens:,}"
                found = study(
                    spec,
                    system,
                    first,
                    second,
                    tokens,
                    history=past,
                    seed=seed,
                    on_plan=lambda name, place=place: progress.stage(f"{place}: {name}"),  # type: ignore[misc]
                )
                if all(row.redundant == 0 for row in found):
                    out.note(f"{place}: no room for a redundant expert on each rank")
                rows += [
                    {
                        "ranks": system.ranks,
                        "batch": tokens,
                        "placement": row.name,
                        "fitted_on": row.fitted_on,
                        "redundant": row.redundant,
                        "compute_ms": row.compute_s * 1e3,
                        "compute_gain": row.compute_gain,
                        "over_oracle": row.over_oracle,
                        "step_ms": row.step_s * 1e3,
                        "step_gain": row.step_gain,
                    }
                    for row in found
                ]
    document: dict[str, Any] = {
        "schema": SCHEMA,
        "model": spec.name,
        "system": system.name,
        "prefill": first.name,
        "decode": second.name,
        "history": None if past is None else past.name,
        "layers": second.num_layers,
        "rows": rows,
    }
    if explain:
        from moeplace.cli.explain.serving import explain_prefill_aware

        document["explain"] = explain_prefill_aware(document)
    out.show(document, rows, lambda: _draw(document, out))


def _loads(
    model: ModelSpec, trace: str | None, prefill: str | None, decode: str | None
) -> tuple[Workload, Workload]:
    from moeplace.traces import default_workloads

    if trace is not None:
        if prefill or decode:
            raise UsageError("give --trace, or --prefill and --decode")
        return _read(trace, model, "prefill"), _read(trace, model, "decode")
    if (prefill is None) != (decode is None):
        raise UsageError("--prefill and --decode belong together")
    if prefill is not None and decode is not None:
        return _read(prefill, model, "prefill"), _read(decode, model, "decode")
    shipped = default_workloads(model.name)
    if not {"prefill", "decode"} <= set(shipped):
        raise InputError(
            f"no loads of both phases are shipped for {model.name}; give --prefill and --decode"
        )
    return shipped["prefill"].bind(model), shipped["decode"].bind(model)


def _read(source: str, model: ModelSpec, phase: str) -> Workload:
    from moeplace.traces import RoutingTrace, Workload
    from moeplace.traces.sources import load_source

    found = load_source(source, num_experts=model.num_experts)
    if isinstance(found, RoutingTrace):
        if found.phase is not None:
            found = found.select_phase(phase)
        found = Workload.from_trace(found)
    return found.replace(token_sets=None, token_sets_kind=None).bind(model)


def _without(workload: Workload, skipped: Collection[int]) -> Workload:
    ids = workload.layer_ids or ()
    kept = [row for row, layer in enumerate(ids) if layer not in skipped]
    if not kept:
        raise InputError("--skip-layer leaves no layer")
    return workload if len(kept) == len(ids) else workload.select_layers(kept)


def _draw(document: Mapping[str, Any], out: Output) -> None:
    rows = document["rows"]
    out.line(
        f"{document['model']} on {document['system']}, {document['layers']} layers; prefill "
        f"{document['prefill']}, decode {document['decode']}"
        + ("" if document["history"] is None else f", history {document['history']}")
    )
    for ranks in dict.fromkeys(row["ranks"] for row in rows):
        here = [row for row in rows if row["ranks"] == ranks]
        batches = list(dict.fromkeys(row["batch"] for row in here))
        cells = {(row["placement"], row["batch"]): row for row in here}
        out.line()
        out.line(
            f"EP{ranks}, tokens of a step; expert kernels faster than default, (above the oracle):"
        )
        out.table(
            ("placement", "fitted on", "spare", *(f"{tokens:,}" for tokens in batches)),
            [
                (
                    row["placement"],
                    row["fitted_on"],
                    str(row["redundant"]),
                    *_cells(cells, row["placement"], batches),
                )
                for row in here
                if row["batch"] == batches[0]
            ],
            left=(0, 1),
        )


def _cells(
    cells: Mapping[tuple[str, int], Mapping[str, Any]], name: str, batches: Sequence[int]
) -> list[str]:
    found = [cells[name, tokens] for tokens in batches]
    return [f"{row['compute_gain']:.2f} ({row['over_oracle']:.0%})" for row in found]
