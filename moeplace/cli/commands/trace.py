"""`moeplace trace`: what was recorded, in numbers and in other formats."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from moeplace.cli.options import ExplainOption, FormatOption, QuietOption, group
from moeplace.cli.output import Format, Output
from moeplace.errors import UsageError

app = group("trace", "Routing traces and loads.")

SourceArgument = Annotated[
    str, typer.Argument(metavar="TRACE", help="File, folder or shipped name.")
]
FromOption = Annotated[
    str | None,
    typer.Option(
        "--from",
        metavar="FORMAT",
        help="A format of `moeplace trace formats`; default: by content.",
    ),
]
WindowsOption = Annotated[
    int, typer.Option("--windows", min=1, metavar="N", help="Stretches of the trace, for drift.")
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
    from moeplace.cli.trace_sources import read_source
    from moeplace.cli.trace_view import draw_facts, facts_of

    out = Output(format)
    if shipped:
        from moeplace.traces import shipped_workloads

        names = [{"name": name} for name in shipped_workloads()]
        out.show(names, names, lambda: out.table(("shipped",), [[row["name"]] for row in names]))
        return
    if trace is None:
        raise UsageError("give a trace, or --list to see what comes with the package")
    facts = facts_of(read_source(trace, from_, model))
    out.show(facts, [facts], lambda: draw_facts(facts, out))


@app.command()
def formats(format: FormatOption = Format.table) -> None:
    """List the formats that can be read.

    Example: moeplace trace formats
    """
    from moeplace.traces import importers

    out = Output(format)
    rows = [
        {"format": i.name, "gives": "tokens" if i.gives == "trace" else "loads", "what": i.summary}
        for i in importers().values()
    ]
    table = [[str(row[key]) for key in ("format", "gives", "what")] for row in rows]
    out.show(rows, rows, lambda: out.table(("format", "gives", "what"), table, left=(0, 1, 2)))


@app.command()
def stats(
    trace: SourceArgument,
    phase: Annotated[
        str | None, typer.Option(metavar="P", help="Tokens of one phase: prefill or decode.")
    ] = None,
    by: Annotated[
        str | None,
        typer.Option(metavar="WHAT", help="Compare phases, domains or windows instead of layers."),
    ] = None,
    windows: WindowsOption = 8,
    from_: FromOption = None,
    model: ModelOption = None,
    format: FormatOption = Format.table,
) -> None:
    """Show how uneven the loads are and how much experts go together, layer by layer.

    Example: moeplace trace stats deepseek-v3/prefill_in4096
    """
    from moeplace.cli.progress import Progress
    from moeplace.cli.trace_sources import read_source, stored_or_read
    from moeplace.cli.trace_view import draw_stats, stats_rows
    from moeplace.traces import Workload, workload_stats

    out = Output(format)
    if by is not None:
        _stats_by(trace, by, phase, windows, from_, model, out)
        return
    with Progress(f"reading {trace}"):
        found = read_source(trace, from_, model) if model else stored_or_read(trace, from_)
        if not isinstance(found, Workload):
            found = Workload.from_trace(found, phase=phase)
        elif phase not in (None, found.phase):
            held = found.phase or "unsplit"
            raise UsageError(f"--phase {phase}: {found.name} holds {held} loads")
        document = workload_stats(found).as_dict()
    out.show(document, stats_rows(document), lambda: draw_stats(document, out))


@app.command()
def insights(
    trace: SourceArgument,
    phase: Annotated[
        str | None, typer.Option(metavar="P", help="Tokens of one phase: prefill or decode.")
    ] = None,
    ranks: Annotated[
        int, typer.Option(min=1, metavar="N", help="Ranks of the placements compared.")
    ] = 8,
    windows: WindowsOption = 8,
    layer: Annotated[
        int | None,
        typer.Option(metavar="L", help="Layer of the graph; default: the one in the middle."),
    ] = None,
    graphml: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write a layer's co-activation graph.")
    ] = None,
    plots: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Write figures (needs matplotlib).")
    ] = None,
    from_: FromOption = None,
    model: ModelOption = None,
    explain: ExplainOption = False,
    quiet: QuietOption = False,
    format: FormatOption = Format.table,
) -> None:
    """Set a trace beside the observations and insights of arXiv 2510.05497.

    Example: moeplace trace insights deepseek-v2-lite/prefill_esft
    """
    from moeplace.cli.insights_view import draw_insights, insight_rows
    from moeplace.cli.trace_sources import tally_source
    from moeplace.traces.analysis.graph import coactivation_graph, expert_clusters, write_graphml
    from moeplace.traces.analysis.insights import insights_of
    from moeplace.traces.analysis.plots import plot_tally

    out = Output(format, quiet)
    tally = tally_source(trace, from_, model, phase, windows, quiet)
    found = insights_of(tally, ranks=ranks)
    document = found.as_dict()
    clusters = None
    if tally.top_k > 1:
        place = tally.layer_ids[tally.num_layers // 2] if layer is None else layer
        graph = coactivation_graph(tally, place)
        clusters = expert_clusters(graph)
        document["clusters"] = {"layer": place, "experts": clusters}
        if graphml is not None:
            write_graphml(graph, graphml)
            out.note(
                f"{graphml}: {graph.number_of_nodes()} experts, {graph.number_of_edges()} pairs"
            )
    elif graphml is not None:
        raise UsageError("--graphml: each token uses one expert, there are no pairs")
    if plots is not None:
        for file in plot_tally(tally, plots):
            out.note(str(file))
    if explain:
        from moeplace.cli.explain.insights import explain_insights

        document["explain"] = explain_insights(document)
    out.show(document, insight_rows(found), lambda: draw_insights(found, clusters, out))


def _stats_by(
    trace: str,
    by: str,
    phase: str | None,
    windows: int,
    from_: str | None,
    model: str | None,
    out: Output,
) -> None:
    from moeplace.cli.insights_view import compare_rows, draw_compare
    from moeplace.cli.trace_sources import tally_source

    if by not in ("phase", "domain", "window"):
        raise UsageError(f"--by {by}: use phase, domain or window")
    tally = tally_source(trace, from_, model, phase, windows, quiet=False)
    rows = compare_rows(tally, by)
    out.show({"name": tally.name, "by": by, "rows": rows}, rows, lambda: draw_compare(rows, out))


from moeplace.cli.commands import trace_files, trace_synth  # noqa: E402

for command in (*trace_files.COMMANDS, *trace_synth.COMMANDS):
    app.command(command.__name__.rstrip("_"))(command)
