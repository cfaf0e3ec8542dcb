"""Traces and loads in NumPy's npz files; pickled content is never read."""

from __future__ import annotations

import json
import zipfile
import zlib
from typing import TYPE_CHECKING, Any

import numpy as np

from moeplace.errors import InputError
from moeplace.files import atomic_write
from moeplace.traces.archives import check_bounds
from moeplace.traces.trace import RoutingTrace
from moeplace.traces.workload import Workload

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray

COLUMNS = ("request", "position", "phase", "domain", "weights")
# What NumPy and zipfile raise on truncated, corrupt or hostile files.
READ_ERRORS = (
    OSError,
    ValueError,
    EOFError,
    KeyError,
    SyntaxError,
    MemoryError,
    NotImplementedError,
    RuntimeError,
    OverflowError,
    zipfile.BadZipFile,
    zlib.error,
)


def write_npz(trace: RoutingTrace, path: Path) -> None:
    """Write a trace as a compressed npz file.

    Parameters
    ----------
    trace
        What to write.
    path
        The file; it appears whole or not at all.

    Raises
    ------
    InputError
        If the folder cannot be written.
    """
    arrays: dict[str, Any] = {
        "expert_ids": trace.expert_ids,
        "num_experts": np.int64(trace.num_experts),
        "name": np.str_(trace.name),
        "meta": np.str_(json.dumps(dict(trace.meta), ensure_ascii=False)),
        "domains": np.asarray(trace.domains, dtype=np.str_),
    }
    if trace.layer_ids is not None:
        arrays["layer_ids"] = np.asarray(trace.layer_ids, dtype=np.int32)
    for column in COLUMNS:
        values = getattr(trace, column)
        if values is not None:
            arrays[column] = values
    with atomic_write(path, "wb") as file:
        np.savez_compressed(file, **arrays)


def read_arrays(path: Path) -> dict[str, NDArray[Any]]:
    """Read every array of an npz file.

    Parameters
    ----------
    path
        The file.

    Raises
    ------
    InputError
        If the file is missing, truncated, corrupt, or holds pickled objects.
    """
    try:
        with path.open("rb") as stream:
            if stream.read(2) == b"PK":
                check_bounds(path)
            stream.seek(0)
            file = np.load(stream, allow_pickle=False)
            if not isinstance(file, np.lib.npyio.NpzFile):
                raise InputError(f"{path}: a single array; an npz file with named arrays expected")
            return {key: file[key] for key in file.files}
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file") from error
    except READ_ERRORS as error:
        raise InputError(f"{path}: not a readable npz file ({first_line(error)})") from error


def read_npz_trace(
    path: Path, *, num_experts: int | None = None, name: str | None = None
) -> RoutingTrace:
    """Read a trace from npz.

    Besides the files that `write_npz` makes, it reads those whose ids are called `ids`, and those
    that keep `num_experts`, `layer_ids` and `domains` in the JSON text `meta` and the domain of a
    request in `request_domain`.

    Parameters
    ----------
    path
        The file.
    num_experts
        Logical experts per layer, for a file that does not say it.
    name
        What to call the trace; by default what the file says, or its stem.

    Raises
    ------
    InputError
        If the file cannot be read, holds no trace, or holds an invalid one.
    """
    return _trace_of_arrays(read_arrays(path), path, num_experts, name)


def _trace_of_arrays(
    arrays: Mapping[str, NDArray[Any]], path: Path, num_experts: int | None, name: str | None
) -> RoutingTrace:
    ids = arrays.get("expert_ids", arrays.get("ids"))
    if ids is None:
        raise InputError(
            f"{path}: no array expert_ids (found {', '.join(sorted(arrays)[:6]) or 'nothing'}); "
            "this is not a routing trace"
        )
    meta = _meta(arrays, path)
    experts = arrays.get("num_experts", meta.get("num_experts", num_experts))
    if experts is None:
        raise InputError(f"{path}: it does not say how many experts a layer has; give num_experts")
    try:
        experts = int(experts)
        layers = arrays.get("layer_ids", meta.get("layer_ids"))
        layer_ids = None if layers is None else tuple(int(i) for i in layers)
        domains = tuple(str(d) for d in arrays.get("domains", meta.get("domains", ())))
    except (TypeError, ValueError) as error:
        raise InputError(f"{path}: num_experts, layer_ids or domains are malformed") from error
    columns: dict[str, Any] = {column: arrays.get(column) for column in COLUMNS}
    if columns["domain"] is None and "request_domain" in arrays and "request" in arrays:
        of_request, request = arrays["request_domain"], arrays["request"]
        if request.size and not 0 <= request.min() <= request.max() < of_request.size:
            raise InputError(f"{path}: request_domain does not cover every request")
        columns["domain"] = of_request[request]
    given = arrays.get("name")
    title = name or (str(given) if given is not None else path.stem)
    known = {"num_experts", "layer_ids", "domains"}
    rest = {key: value for key, value in meta.items() if key not in known}
    try:
        return RoutingTrace.from_arrays(
            ids, experts, layer_ids, name=title, domains=domains, meta=rest, **columns
        )
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


def read_npz_workload(
    path: Path,
    *,
    phase: str | None = None,
    num_experts: int | None = None,
    name: str | None = None,
) -> Workload:
    """Read a workload from npz: an array `load`, or a trace.

    Parameters
    ----------
    path
        The file; beside `load` (layers, experts) it may hold `layer_ids`, `top_k`, `phase`, `name`,
        `kind` (measured or synthetic) and `source`.
    phase
        Take the tokens of one phase of a trace.
    num_experts
        Logical experts per layer, for a trace that does not say it.
    name
        What to call the workload; by default what the file says, else its stem.

    Raises
    ------
    InputError
        If the file cannot be read or holds neither.
    """
    arrays = read_arrays(path)
    if "load" not in arrays:
        trace = _trace_of_arrays(arrays, path, num_experts, name)
        return Workload.from_trace(trace, phase=phase)
    layers, top_k, recorded = (arrays.get(key) for key in ("layer_ids", "top_k", "phase"))
    try:
        return Workload.from_loads(
            arrays["load"],
            top_k=None if top_k is None else int(top_k),
            layer_ids=None if layers is None else [int(i) for i in layers],
            phase=None if recorded is None else str(recorded),
            name=name or str(arrays.get("name", path.stem)),
            kind="synthetic" if str(arrays.get("kind", "")) == "synthetic" else "measured",
            source=str(arrays.get("source", "")),
        )
    except (InputError, TypeError, ValueError) as error:
        raise InputError(f"{path}: {error}") from error


def first_line(error: BaseException) -> str:
    """Return what an exception says, on one line."""
    text = str(error).strip().splitlines()
    return text[0] if text else type(error).__name__


def _meta(arrays: Mapping[str, NDArray[Any]], path: Path) -> dict[str, Any]:
    if "meta" not in arrays:
        return {}
    try:
        meta = json.loads(str(arrays["meta"]))
    except json.JSONDecodeError as error:
        raise InputError(f"{path}: meta is not JSON") from error
    if not isinstance(meta, dict):
        raise InputError(f"{path}: meta is not a JSON object")
    return meta
