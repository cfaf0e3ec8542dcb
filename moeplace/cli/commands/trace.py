"""`moeplace trace`: what was recorded, in numbers and in other formats."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from moeplace.cli.options import FormatOption, QuietOption, group
from moeplace.cli.output import Format, Output
from moeplace.errors import UsageError

app = group("trace", "Routing traces and loads.")

SourceArgument = Annotated[
    str, typer.Argument(metavar="TRACE", help="File, folder or shipped name.")
]
FromOption = Annotated[
    str | None,
    typer.Option("--from", metavar="FORMAT", help="npz, parquet, sglang-counts or chaos."),
]
ModelOption = Annotated[
    str | None,
    typer.Option("--model", "-m", metavar="M", help="The model it was recorded with; checked."),
]


@app.command()
def info(
    trace: Annotated[
        str | None, typer.Argument(metavar="[TRACE]", help="File, folder or shipped name.")
    ] = None,
    shipped: Annotated[
        bool, typer.Option("--list", help="List what comes with the package instead.")
    ] = False,
    from_: FromOption = None,
    model: ModelOption = None,
    format: FormatOption = Format.table,
) -> None:
    """Show what a trace holds: shape, requests, phases, domains.

    Example: moeplace trace info deepseek-v2-lite/prefill_esft
    """
    from moeplace.cli.trace_view import draw_facts, facts_of

    out = Output(format)
    if shipped:
        from moeplace.traces import shipped_workloads

        names = [{"name": name} for name in shipped_workloads()]
        out.show(names, names, lambda: out.table(("shipped",), [[row["name"]] for row in names]))
        return
    if trace is None:
        raise UsageError("give a trace, or --list to see what comes with the package")
    facts = facts_of(_read(trace, from_, model))
    out.show(facts, [facts], lambda: draw_facts(facts, out))


@app.command()
def stats(
    trace: SourceArgument,
    phase: Annotated[
        str | None, typer.Option(metavar="P", help="Tokens of one phase: prefill or decode.")
    ] = None,
    from_: FromOption = None,
    model: ModelOption = None,
    format: FormatOption = Format.table,
) -> None:
    """Show how uneven the loads are and how much experts go together, layer by layer.

    Example: moeplace trace stats deepseek-v3/prefill_in4096
    """
    from moeplace.cli.trace_view import draw_stats, stats_rows
    from moeplace.traces import RoutingTrace, Workload, workload_stats

    out = Output(format)
    found = _read(trace, from_, model)
    if isinstance(found, RoutingTrace):
        found = Workload.from_trace(found, phase=phase)
    elif phase not in (None, found.phase):
        raise UsageError(f"--phase {phase}: {found.name} holds {found.phase or 'unsplit'} loads")
    document = workload_stats(found).as_dict()
    out.show(document, stats_rows(document), lambda: draw_stats(document, out))


@app.command("import")
def import_(
    sources: Annotated[list[str], typer.Argument(metavar="SRC...", help="Files or folders.")],
    output: Annotated[
        Path,
        typer.Option("--output", "-o", help="X.npz, X.parquet, or a folder; loads: X.npz."),
    ],
    from_: FromOption = None,
    model: ModelOption = None,
    quiet: QuietOption = False,
) -> None:
    """Read recordings of a serving engine or a data set, check them and write one trace.

    Example: moeplace trace import recorded/*.json --model deepseek-v3 -o loads.npz
    """
    _write(sources, output, from_, model, quiet)


@app.command()
def convert(
    source: Annotated[str, typer.Argument(metavar="IN", help="File, folder or shipped name.")],
    output: Annotated[
        Path, typer.Argument(metavar="OUT", help="X.npz, X.parquet, or a folder; loads: X.npz.")
    ],
    from_: FromOption = None,
    quiet: QuietOption = False,
) -> None:
    """Write a trace in another format of moeplace.

    Example: moeplace trace convert trace.npz trace.parquet
    """
    _write([source], output, from_, None, quiet)


def _read(source: str, from_: str | None, model: str | None) -> Any:
    from moeplace.models import load_model
    from moeplace.traces import RoutingTrace, Workload
    from moeplace.traces.sources import load_source

    spec = None if model is None else load_model(model)
    found = load_source(source, from_, num_experts=None if spec is None else spec.num_experts)
    if spec is None:
        return found
    if not isinstance(found, RoutingTrace):
        return found.bind(spec)  # rows of dense layers are left out
    bound = Workload.from_trace(found).bind(spec)
    if found.layer_ids is None and bound.num_layers == found.num_layers:
        return found.replace(layer_ids=bound.layer_ids)
    return found


def _write(
    sources: list[str], output: Path, from_: str | None, model: str | None, quiet: bool
) -> None:
    from moeplace.cli.files import check_writable
    from moeplace.cli.progress import Progress
    from moeplace.traces import RoutingTrace, save_trace
    from moeplace.traces.sources import join_loads, join_traces, save_loads

    out = Output(quiet=quiet)
    check_writable(output, ("", ".npz", ".parquet"), folder=output.suffix == "")
    with Progress("reading", quiet=quiet) as progress:
        found = []
        for source in sources:
            progress.stage(f"reading {source}")
            found.append(_read(source, from_, model))
        traces = [item for item in found if isinstance(item, RoutingTrace)]
        loads = [item for item in found if not isinstance(item, RoutingTrace)]
        if traces and loads:
            raise UsageError("some files hold tokens and some hold loads; import them apart")
        progress.stage(f"writing {output}")
        if traces:
            trace = join_traces(traces)
            save_trace(trace, output)
            what = f"{trace.num_tokens:,} tokens, {trace.num_layers} layers"
            for warning in trace.meta.get("warnings", ()):
                out.note(str(warning))
        else:
            workload = join_loads(loads)
            check_writable(output, (".npz",))
            save_loads(workload, output)
            what = f"loads of {workload.num_layers} layers, {workload.num_experts} experts"
    out.note(f"{output}: {what}")
