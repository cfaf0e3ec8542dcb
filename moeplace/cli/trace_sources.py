"""Traces that commands read: bound to a model, or opened without reading."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from moeplace.errors import InputError, UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from moeplace.traces import RoutingTrace, Workload
    from moeplace.traces.analysis.tally import Tally
    from moeplace.traces.importers.options import ImportOptions
    from moeplace.traces.stored import StoredTrace


def import_options(
    model: str | None,
    columns: Sequence[str] = (),
    top_k: int | None = None,
    skip_bad: bool = False,
) -> ImportOptions:
    """Return what a user told about files.

    Raises
    ------
    UsageError
        If a column is not OURS=THEIRS, or OURS is none of ours.
    """
    from moeplace.models import load_model
    from moeplace.traces.importers.options import ImportOptions
    from moeplace.traces.importers.table_rows import COLUMNS

    mapping = {}
    for text in columns:
        ours, _, theirs = text.partition("=")
        if not theirs or ours not in COLUMNS:
            raise UsageError(f"--column {text}: give OURS=THEIRS, OURS of {', '.join(COLUMNS)}")
        mapping[ours] = theirs
    if model is None:
        return ImportOptions(top_k=top_k, columns=mapping, skip_bad=skip_bad)
    spec = load_model(model)
    return ImportOptions(
        num_experts=spec.num_experts,
        top_k=top_k or int(spec.top_k),
        num_layers=spec.num_layers,
        moe_layers=tuple(spec.moe_layers),
        columns=mapping,
        skip_bad=skip_bad,
    )


def read_source(
    source: str, from_: str | None, model: str | None, options: ImportOptions | None = None
) -> Any:
    """Return a trace or loads, checked against the model if one is named."""
    from moeplace.models import load_model
    from moeplace.traces import RoutingTrace, Workload
    from moeplace.traces.sources import load_source

    spec = None if model is None else load_model(model)
    experts = None if spec is None else spec.num_experts
    given = options or import_options(model)
    found = load_source(source, from_, num_experts=experts, options=given)
    if spec is None:
        return found
    if not isinstance(found, RoutingTrace):
        return found.bind(spec)  # rows of dense layers are left out
    bound = Workload.from_trace(found).bind(spec)
    if found.layer_ids is None and bound.num_layers == found.num_layers:
        return found.replace(layer_ids=bound.layer_ids)
    return found


def stored_or_read(source: str, from_: str | None) -> RoutingTrace | StoredTrace | Workload:
    """Return a Parquet trace opened, anything else read."""
    from moeplace.traces.importers.registry import detect_format
    from moeplace.traces.sources import load_source
    from moeplace.traces.stored import open_trace

    path = Path(source)
    if path.exists():
        try:
            kind = from_ or detect_format(path)
        except InputError:
            kind = ""
        if kind == "parquet":
            return open_trace(path)
    return load_source(source, from_)


def open_source(
    source: str, from_: str | None = None, model: str | None = None
) -> RoutingTrace | StoredTrace:
    """Return a trace of tokens, opened or read.

    Raises
    ------
    InputError
        If it holds loads.
    """
    from moeplace.traces import Workload

    found = read_source(source, from_, model) if model else stored_or_read(source, from_)
    if isinstance(found, Workload):
        raise InputError(f"{source}: holds loads, not tokens")
    trace: RoutingTrace | StoredTrace = found
    return trace


def tally_source(
    source: str,
    from_: str | None,
    model: str | None,
    phase: str | None,
    windows: int,
    quiet: bool,
) -> Tally:
    """Count a trace, with progress."""
    from moeplace.cli.progress import Progress
    from moeplace.traces.analysis.tally import tally_trace

    with Progress(f"reading {source}", quiet=quiet) as progress:
        trace = open_source(source, from_, model)
        total = max(trace.num_tokens, 1)

        def show(tokens: int) -> None:
            progress.stage(f"counting {tokens:,} of {total:,} tokens")

        return tally_trace(trace, phase=phase, windows=windows, on_tokens=show)
