"""Whatever a file holds, trace or loads; and several files of a kind taken together."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from moeplace.errors import InputError, UsageError
from moeplace.files import atomic_write
from moeplace.traces.archives import member_names
from moeplace.traces.importers.registry import find_importer
from moeplace.traces.io import load_trace, load_workload
from moeplace.traces.shipped import shipped_workloads
from moeplace.traces.trace import RoutingTrace

if TYPE_CHECKING:
    from collections.abc import Sequence

    from moeplace.traces.importers.options import ImportOptions
    from moeplace.traces.stored import StoredTrace
    from moeplace.traces.workload import Workload

NAMES_SHOWN = 3  # of files taken together, in the name of what they make


def load_source(
    path: str | Path,
    format: str | None = None,
    *,
    num_experts: int | None = None,
    options: ImportOptions | None = None,
) -> RoutingTrace | Workload:
    """Read a file as what it is: a routing trace, or loads alone.

    Parameters
    ----------
    path
        A file, a folder, or a name of `shipped_workloads`.
    format
        Name of an importer; by default the content decides.
    num_experts
        Logical experts per layer, for formats that do not say it.
    options
        Other facts that some formats lack.

    Raises
    ------
    InputError
        If it is missing, unreadable or invalid.
    """
    if _holds_loads(path, format):
        return load_workload(path, format, num_experts=num_experts, options=options)
    return load_trace(path, format, num_experts=num_experts, options=options)


def join_traces(traces: Sequence[RoutingTrace]) -> RoutingTrace:
    """Put the tokens of several traces of one model one after the other.

    Requests stay apart. A column is kept if every trace has it.

    Raises
    ------
    InputError
        If experts, top_k or layers differ.
    """
    first, *others = traces
    if not others:
        return first
    for other in others:
        ours = (first.num_experts, first.top_k, first.num_layers, first.layer_ids)
        if ours != (other.num_experts, other.top_k, other.num_layers, other.layer_ids):
            raise InputError(
                f"traces {first.name!r} and {other.name!r} differ in experts, top_k or layers; "
                "join traces of one model and the same layers"
            )
    columns: dict[str, Any] = {}
    for column in ("position", "phase", "weights"):
        parts = [getattr(trace, column) for trace in traces]
        columns[column] = None if any(p is None for p in parts) else np.concatenate(parts)
    columns["request"] = _joined_requests(traces)
    if all(trace.domain is not None for trace in traces):
        columns["domain"] = np.concatenate(
            [np.asarray(trace.domains, np.str_)[trace.domain] for trace in traces]
        )
    ids = [np.where(trace.valid, trace.expert_ids.astype(np.int32), -1) for trace in traces]
    return RoutingTrace.from_arrays(
        np.concatenate(ids),
        first.num_experts,
        first.layer_ids,
        name=_joined_name([trace.name for trace in traces]),
        **columns,
    )


def join_stored(traces: Sequence[StoredTrace]) -> StoredTrace:
    """Put stored traces of one model one after the other without reading their tokens.

    Requests stay apart. A column is kept if every trace has it.

    Raises
    ------
    InputError
        If experts, top_k or layers differ.
    """
    first, *others = traces
    parts, offset = list(first.parts), _next_request(first) if others else 0
    for other in others:
        ours = (first.num_experts, first.top_k, first.num_layers, first.layer_ids)
        if ours != (other.num_experts, other.top_k, other.num_layers, other.layer_ids):
            raise InputError(
                f"traces {first.name!r} and {other.name!r} differ in experts, top_k or layers; "
                "join traces of one model and the same layers"
            )
        parts += [replace(p, request_offset=p.request_offset + offset) for p in other.parts]
        offset += _next_request(other)
    return replace(
        first,
        parts=tuple(parts),
        columns=frozenset.intersection(*(trace.columns for trace in traces)),
        domains=tuple(dict.fromkeys(name for trace in traces for name in trace.domains)),
        name=_joined_name([trace.name for trace in traces]),
    )


def _next_request(trace: StoredTrace) -> int:
    return int(trace.request_numbers().max(initial=-1)) + 1


def join_loads(workloads: Sequence[Workload]) -> Workload:
    """Add the loads of several recordings of one model; token sets are left out.

    Raises
    ------
    InputError
        If experts, top_k or layers differ.
    """
    first, *others = workloads
    if not others:
        return first
    for other in others:
        same = first.load.shape == other.load.shape and first.layer_ids == other.layer_ids
        known = {first.top_k, other.top_k} - {None}
        if not same or len(known) > 1:
            raise InputError(
                f"loads {first.name!r} and {other.name!r} differ in experts, top_k or layers; "
                "join loads of one model and the same layers"
            )
    phases = {workload.phase for workload in workloads}
    return first.replace(
        load=np.sum([workload.load for workload in workloads], axis=0),
        name=_joined_name([workload.name for workload in workloads]),
        kind="synthetic" if any(w.kind == "synthetic" for w in workloads) else "measured",
        token_sets=None,
        token_sets_kind=None,
        phase=phases.pop() if len(phases) == 1 else None,
        num_tokens=sum(workload.num_tokens for workload in workloads),
        top_k=next((w.top_k for w in workloads if w.top_k is not None), None),
        source="; ".join(dict.fromkeys(w.source for w in workloads if w.source)),
    )


def save_loads(workload: Workload, path: str | Path) -> None:
    """Write loads as npz; `load_workload` reads them again.

    Parameters
    ----------
    workload
        What to write; its token sets are left out.
    path
        The file; it appears whole or not at all.

    Raises
    ------
    UsageError
        If the name does not end in .npz.
    InputError
        If it cannot be written there.
    """
    target = Path(path)
    if target.suffix != ".npz":
        raise UsageError(f"{path}: write loads as X.npz")
    arrays: dict[str, Any] = {
        "load": workload.load,
        "name": np.str_(workload.name),
        "kind": np.str_(workload.kind),
        "source": np.str_(workload.source),
    }
    if workload.layer_ids is not None:
        arrays["layer_ids"] = np.asarray(workload.layer_ids, np.int32)
    if workload.top_k is not None:
        arrays["top_k"] = np.int64(workload.top_k)
    if workload.phase is not None:
        arrays["phase"] = np.str_(workload.phase)
    with atomic_write(target, "wb") as file:
        np.savez_compressed(file, **arrays)


def _holds_loads(path: str | Path, format: str | None) -> bool:
    if format is None and not Path(path).exists() and str(path) in shipped_workloads():
        try:
            load_trace(path)
        except InputError:
            return True
        return False
    try:
        importer = find_importer(Path(path), format)
    except InputError:
        return False  # load_trace tells what is wrong
    if importer.name != "npz":
        return importer.gives == "workload"
    return "load.npy" in (member_names(Path(path)) or ())


def _joined_name(names: Sequence[str]) -> str:
    if len(names) > NAMES_SHOWN:
        names = [*names[:NAMES_SHOWN], f"{len(names) - NAMES_SHOWN} more"]
    return " + ".join(names)


def _joined_requests(traces: Sequence[RoutingTrace]) -> Any:
    parts, offset = [], 0
    for trace in traces:
        if trace.request is None:
            return None
        number = np.unique(trace.request, return_inverse=True)[1].astype(np.int64)
        parts.append(number + offset)
        offset += int(number.max(initial=-1)) + 1
    return np.concatenate(parts)
