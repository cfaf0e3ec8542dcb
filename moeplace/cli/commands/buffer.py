"""`moeplace buffer`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from moeplace.cli.options import SEARCH, WHAT, WHERE, ExplainOption, FormatOption, QuietOption
from moeplace.cli.output import Format, Output
from moeplace.errors import InputError, UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from moeplace.hwmodels import System
    from moeplace.models import ModelSpec
    from moeplace.traces import RoutingTrace

SCHEMA = "moeplace.buffer/1"
GIB = 2**30
SIZES = 8  # of caches, by default


def buffer(
    model: Annotated[
        str, typer.Option("--model", "-m", metavar="M", help="Model.", rich_help_panel=WHAT)
    ],
    hw: Annotated[str, typer.Option("--hw", metavar="H", help="System.", rich_help_panel=WHERE)],
    ranks: Annotated[
        int | None,
        typer.Option(
            "--ranks",
            metavar="N",
            help="EP size; default: the system's own.",
            rich_help_panel=WHERE,
        ),
    ] = None,
    trace: Annotated[
        str | None,
        typer.Option(
            "--trace",
            "-t",
            metavar="F",
            help="Trace of tokens; default: the one shipped.",
            rich_help_panel=WHAT,
        ),
    ] = None,
    phase: Annotated[
        str,
        typer.Option(
            "--phase", metavar="P", help="prefill or decode: fixed costs.", rich_help_panel=WHAT
        ),
    ] = "decode",
    batch_tokens: Annotated[
        int,
        typer.Option(
            "--batch-tokens",
            metavar="N",
            min=1,
            help="Tokens of a batch, all ranks.",
            rich_help_panel=WHAT,
        ),
    ] = 64,
    host_link: Annotated[
        str,
        typer.Option(
            "--host-link",
            metavar="L",
            help="Link to host memory: pcie3, pcie4, pcie5, nvlink-c2c, or GB/s reached.",
            rich_help_panel=WHERE,
        ),
    ] = "pcie4",
    policy: Annotated[
        list[str] | None,
        typer.Option(
            "--policy",
            metavar="P",
            help="Rule of eviction, repeatable; default: all.",
            rich_help_panel=SEARCH,
        ),
    ] = None,
    cache: Annotated[
        list[int] | None,
        typer.Option(
            "--cache",
            metavar="C",
            help="Experts of a layer on a rank; default: all.",
            rich_help_panel=SEARCH,
        ),
    ] = None,
    balance: Annotated[
        list[str] | None,
        typer.Option(
            "--balance",
            metavar="B",
            help="contiguous (default), greedy, anti-correlation, scaled, batch-max; repeatable. "
            "Other than contiguous: fitted on the first half, all reported on the second.",
            rich_help_panel=SEARCH,
        ),
    ] = None,
    memory_GiB: Annotated[
        float | None,
        typer.Option(
            "--memory-GiB",
            metavar="X",
            help="Memory of a rank for experts; default: the system's.",
            rich_help_panel=WHERE,
        ),
    ] = None,
    keep: Annotated[
        float,
        typer.Option(
            "--keep",
            metavar="X",
            help="Share of full throughput good enough.",
            rich_help_panel=SEARCH,
        ),
    ] = 0.95,
    seed: Annotated[
        int,
        typer.Option(
            "--seed", metavar="N", min=0, help="Of the random rule.", rich_help_panel=SEARCH
        ),
    ] = 0,
    explain: ExplainOption = False,
    format: FormatOption = Format.table,
    quiet: QuietOption = False,
) -> None:
    """Recommend how many experts a rank holds when the others stay in host memory.

    Replays a trace through caches of every size: miss rates of each rule of
    eviction beside the optimum (belady), stalls and throughput.

    Example: moeplace buffer --model deepseek-v2-lite --hw h100-sxm --ranks 8 --memory-GiB 2
    """
    from moeplace.cli.progress import Progress

    out = Output(format, quiet)
    with Progress("reading", quiet=quiet) as progress:
        from moeplace.hwmodels import PHASES, load_system
        from moeplace.models import load_model
        from moeplace.replay.balancing import balance_report, balanced_ranks
        from moeplace.replay.buffering import (
            CACHE_POLICIES,
            advise,
            batch_requests,
            cache_policy,
            layer_times,
            simulate,
        )
        from moeplace.replay.buffering import host_link as load_host_link

        if phase not in PHASES:
            raise UsageError(f"--phase is {phase!r}; use {' or '.join(PHASES)}")
        if not 0 < keep <= 1:
            raise UsageError(f"--keep is {keep}; give a share above 0, at most 1")
        spec, system = load_model(model), load_system(hw, ranks)
        names = [cache_policy(name).name for name in policy or CACHE_POLICIES]
        balances = balance or ["contiguous"]
        requests = batch_requests(_read(trace, spec), batch_tokens)
        fit, held = requests, requests
        if balances != ["contiguous"]:
            fit, held = requests.halves()
        times = layer_times(spec, system, load_host_link(host_link), batch_tokens, phase)
        local = -(-spec.num_experts // system.ranks)
        step = -(-local // SIZES)
        every = range(step, local + 1, step)
        sizes = sorted({min(size, local) for size in cache or every} | {local})
        rows, reports, runs = [], [], {}
        for method in balances:
            progress.stage(f"balance {method}")
            owner = balanced_ranks(fit, system.ranks, method)
            report = balance_report(held, owner, system.ranks)
            reports.append(
                {
                    "balance": method,
                    "max_load": report.max_load,
                    "avg_max_load": report.avg_max_load,
                }
            )
            for name in names:
                for size in sizes:
                    progress.stage(f"{method}, {name}, {size} experts")
                    run = simulate(held, owner, size, name, times, seed)
                    runs[method, name, size] = run
                full = runs[method, name, local].tokens_per_s
                for size in sizes:
                    run = runs[method, name, size]
                    rows.append(
                        {
                            "balance": method,
                            "policy": name,
                            "cache": size,
                            "miss_rate": run.miss_rate,
                            "worst_miss_rate": run.worst_miss_rate,
                            "stall_share": run.stall_share,
                            "throughput": run.tokens_per_s / full,
                            "tokens_per_s": run.tokens_per_s,
                        }
                    )
        dtype = system.weight_dtype(spec)
        budget = system.expert_memory_bytes(spec, dtype)
        if memory_GiB is not None:
            budget = memory_GiB * GIB
        usable = [name for name in names if CACHE_POLICIES[name].sees != "future"] or names
        advices = {
            name: advise(
                [runs[balances[-1], name, size] for size in sizes], spec, budget, keep, dtype
            )
            for name in usable
        }
        chosen = max(
            usable,
            key=lambda name: (min(advices[name].kept, keep), -advices[name].capacity),
        )
        advice = advices[chosen]
    document = {
        "schema": SCHEMA,
        "model": spec.name,
        "system": system.name,
        "ranks": system.ranks,
        "trace": held.name,
        "batches": held.num_batches,
        "batch_tokens": batch_tokens,
        "active_share": float((held.tokens > 0).mean()),
        "host_link": host_link,
        "advice": {
            "policy": chosen,
            "balance": balances[-1],
            "budget_GiB": budget / GIB,
            "keep": keep,
            "cache": advice.capacity,
            "memory_GiB": advice.memory_bytes / GIB,
            "kept": advice.kept,
            "fits": advice.fits,
            "enough": advice.enough,
            **_memory(spec, system, advice.capacity, dtype),
        },
        "balances": reports,
        "rows": rows,
    }
    if explain:
        from moeplace.cli.explain.serving import explain_buffer

        document["explain"] = explain_buffer(document)
    out.show(document, rows, lambda: _draw(document, sizes, out))


def _memory(model: ModelSpec, system: System, size: int, dtype: str) -> dict[str, float]:
    from moeplace.replay.buffering import static_memory

    memory = static_memory(model, system.ranks, size, dtype)
    return {
        "weights_GiB": (memory.full_bytes - memory.saved_bytes) / GIB,
        "weights_ratio": memory.ratio,
    }


def _read(source: str | None, model: ModelSpec) -> RoutingTrace:
    from moeplace.cli.trace_sources import read_source
    from moeplace.traces import Workload, default_trace

    if source is None:
        found = default_trace(model.name)
        if found is None:
            raise InputError(f"no trace of tokens is shipped for {model.name}; give one: --trace")
        return found
    given = read_source(source, None, None)
    if isinstance(given, Workload):
        raise InputError(f"{source}: holds loads; buffering needs tokens in their order")
    trace: RoutingTrace = given
    if (trace.num_experts, trace.top_k) != (model.num_experts, model.top_k):
        raise InputError(
            f"{source}: {trace.num_experts} experts, top-{trace.top_k}; {model.name} has "
            f"{model.num_experts}, top-{model.top_k}: this is a trace of another model"
        )
    return trace


def _draw(document: Mapping[str, Any], sizes: Sequence[int], out: Output) -> None:
    cells = {(row["balance"], row["policy"], row["cache"]): row for row in document["rows"]}
    advice = document["advice"]
    policy = advice["policy"]
    out.line(
        f"{document['model']} on {document['ranks']} ranks of {document['system']}: "
        f"{document['batches']} batches of {document['batch_tokens']:,} tokens from "
        f"{document['trace']}, {document['active_share']:.0%} of the experts needed by a batch"
    )

    def table(title: str, method: str, lines: Sequence[tuple[str, str, str]]) -> None:
        out.table(
            (title, *(str(size) for size in sizes)),
            [
                (label, *(f"{cells[method, name, size][key]:.1%}" for size in sizes))
                for label, name, key in lines
            ],
        )

    for report in document["balances"]:
        method = report["balance"]
        names = [name for kind, name, size in cells if kind == method and size == sizes[0]]
        out.line()
        out.line(
            f"{method}: Max Load {report['max_load']:.3f}, Avg Max Load "
            f"{report['avg_max_load']:.3f}; misses by experts of a layer held:"
        )
        table("policy", method, [(name, name, "miss_rate") for name in names])
        out.line()
        if len(document["balances"]) == 1:
            out.line("Throughput of the MoE layers, of that with every expert resident:")
            table("policy", method, [(name, name, "throughput") for name in names])
            out.line()
        table(
            policy,
            method,
            [
                ("worst rank", policy, "worst_miss_rate"),
                ("stalled", policy, "stall_share"),
                ("throughput", policy, "throughput"),
            ],
        )
    out.line()
    out.line(
        f"Hold {advice['cache']} experts of every layer, {policy}: {advice['memory_GiB']:.2f} of "
        f"{advice['budget_GiB']:.2f} GiB a rank, {advice['kept']:.0%} of the throughput of the MoE "
        f"layers; all weights {advice['weights_GiB']:.2f} GiB, {advice['weights_ratio']:.2f} times "
        "less than with every expert.",
        bold=True,
    )
    if advice["kept"] < advice["keep"]:
        out.note(
            f"{advice['keep']:.0%} of the throughput takes {advice['enough']} experts, "
            f"{advice['fits']} fit"
        )
