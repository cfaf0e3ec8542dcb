"""`moeplace partition`: a hypergraph, or the token sets of a layer, cut into equal parts."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from moeplace.cli.options import INSTANCE, OUTPUT, SEARCH, FormatOption, QuietOption
from moeplace.cli.output import Format, Output
from moeplace.errors import UsageError

if TYPE_CHECKING:
    from moeplace.formulations.partition.nets import Nets

SCHEMA = "moeplace.partition/1"
MOST_FOR_PAIRS = 512  # vertices above which a matrix of pairs is no longer sensible


def partition(
    source: Annotated[
        str, typer.Argument(metavar="SRC", help="X.hgr (hMETIS), or a trace with --layer.")
    ],
    parts: Annotated[
        int, typer.Option(min=1, metavar="N", help="Parts, or ranks.", rich_help_panel=INSTANCE)
    ],
    layer: Annotated[
        int | None,
        typer.Option(metavar="L", help="Layer id of a trace.", rich_help_panel=INSTANCE),
    ] = None,
    slots: Annotated[
        int | None,
        typer.Option(
            min=1, metavar="N", help="Most in a part; default: even.", rich_help_panel=INSTANCE
        ),
    ] = None,
    max_load: Annotated[
        float | None,
        typer.Option(
            metavar="X",
            help="Most load of a part, in means; default: any.",
            rich_help_panel=INSTANCE,
        ),
    ] = None,
    pairs: Annotated[
        bool,
        typer.Option(
            "--pairs",
            help="Minimize the weight of the pairs that are cut (clique expansion), with a proof.",
            rich_help_panel=SEARCH,
        ),
    ] = False,
    backend: Annotated[
        str,
        typer.Option(metavar="B", help="Of --pairs: cpsat, pulp, milp.", rich_help_panel=SEARCH),
    ] = "milp",
    time_limit: Annotated[
        float,
        typer.Option("--time-limit", metavar="S", help="Seconds.", rich_help_panel=SEARCH),
    ] = 10.0,
    seed: Annotated[
        int, typer.Option(min=0, metavar="N", help="Seed.", rich_help_panel=SEARCH)
    ] = 0,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="Write the part of each vertex, a line each.",
            rich_help_panel=OUTPUT,
        ),
    ] = None,
    format: FormatOption = Format.table,
    quiet: QuietOption = False,
) -> None:
    """Cut vertices into parts so that nets (token sets) touch few of them.

    Without --pairs the objective is Σ weight · (λ − 1), λ the parts that a net touches.

    Example: moeplace partition circuit.hgr --parts 4
    """
    from moeplace.cli.files import check_writable
    from moeplace.cli.progress import Progress
    from moeplace.files import atomic_write

    out = Output(format, quiet)
    check_writable(output)
    with Progress("reading", quiet=quiet) as progress:
        nets = _nets(source, layer)
        progress.stage("partitioning")
        if pairs:
            if slots is not None or max_load is not None:
                raise UsageError("--pairs makes parts of equal size; leave --slots, --max-load out")
            document, part = _by_pairs(nets, parts, backend, time_limit, seed)
        else:
            document, part = _by_nets(nets, parts, slots, max_load, time_limit, seed)
    document |= {"schema": SCHEMA, "source": source, "parts": parts, "part": part}
    if output is not None:
        with atomic_write(output) as target:
            target.write("".join(f"{number}\n" for number in part))
    rows = [{"vertex": i, "part": number} for i, number in enumerate(part)]
    facts = [(key.replace("_", " "), _text(document[key])) for key in document["shown"]]
    del document["shown"]
    out.show(document, rows, lambda: out.table(("what", "value"), facts, left=(0, 1)))


def _nets(source: str, layer: int | None) -> Nets:
    """Return the nets of a file, or the token sets of a layer of a trace."""
    from moeplace.cli.trace_sources import open_source
    from moeplace.formulations.partition import read_hgr
    from moeplace.formulations.partition.nets import as_nets
    from moeplace.traces import Workload

    if source.endswith(".hgr"):
        if layer is not None:
            raise UsageError("--layer goes with a trace")
        return read_hgr(source)
    workload = Workload.from_trace(open_source(source))
    ids = list(workload.layer_ids or range(workload.num_layers))
    if layer not in ids:
        raise UsageError(f"{source}: name a layer with --layer, {ids[0]} to {ids[-1]}")
    sets = (workload.token_sets or ())[ids.index(layer)]
    return as_nets(sets.ids, sets.weight, workload.num_experts)


def _by_nets(
    nets: Nets, parts: int, slots: int | None, max_load: float | None, limit_s: float, seed: int
) -> tuple[dict[str, Any], list[int]]:
    import numpy as np

    from moeplace.formulations.partition import connectivity, partition

    part = partition(
        nets,
        None,
        nets.num_experts,
        parts,
        slots or -(-nets.num_experts // parts),
        max_load=max_load,
        time_limit_s=limit_s,
        seed=seed,
    )
    total = float(nets.weight.sum())
    value = connectivity(nets, None, part)
    held = np.bincount(part, minlength=parts)
    document = {
        "vertices": nets.num_experts,
        "nets": nets.num_sets,
        "cut": value - total,
        "lambda": value / total if total else 0.0,
        "largest_part": int(held.max()),
        "seed": seed,
        "shown": ("vertices", "nets", "cut", "lambda", "largest_part"),
    }
    return document, part.tolist()


def _by_pairs(
    nets: Nets, parts: int, backend: str, limit_s: float, seed: int
) -> tuple[dict[str, Any], list[int]]:
    import numpy as np

    from moeplace.formulations.exact import clique_cut

    count = nets.num_experts
    if count > MOST_FOR_PAIRS:
        raise UsageError(f"--pairs is for {MOST_FOR_PAIRS} vertices at most; this has {count}")
    weight = np.zeros((count, count))
    for first, last, tokens in zip(nets.start[:-1], nets.start[1:], nets.weight, strict=True):
        members = np.unique(nets.expert[first:last])
        weight[np.ix_(members, members)] += tokens
    np.fill_diagonal(weight, 0.0)
    found = clique_cut(weight, parts, backend=backend, time_limit_s=limit_s, seed=seed)
    document = {
        "vertices": count,
        "nets": nets.num_sets,
        "cut": found.cut,
        "lower_bound": found.lower_bound,
        "status": found.status,
        "runtime_s": found.runtime_s,
        "seed": seed,
        "shown": ("vertices", "nets", "cut", "lower_bound", "status"),
    }
    return document, found.rank_of_expert.tolist()


def _text(value: float | str) -> str:
    return value if isinstance(value, str) else f"{value:,.10g}"
