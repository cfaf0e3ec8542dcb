"""Traces as Parquet (zstd): a single file, or a folder of parts beside `meta.json`.

A column `layer_<id>` (`row_<n>` where ids are not known) is a list of `top_k` unsigned integers a
token, `weights_<id>` a list of floats; `request`, `position`, `phase` and `domain` are integers.
The metadata (experts, layers, domains, the value that marks an absent id) are JSON: in `meta.json`
of a folder, and in the schema of every file under the key `moeplace`.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from moeplace.errors import InputError
from moeplace.files import atomic_write
from moeplace.traces.npz import first_line
from moeplace.traces.trace import RoutingTrace

if TYPE_CHECKING:
    import pyarrow as pa
    from numpy.typing import NDArray

SCHEMA = "moeplace.trace/1"
KEY = b"moeplace"
META = "meta.json"
COLUMNS = ("request", "position", "phase", "domain")
ROW_GROUP = 65_536


def write_parquet_file(trace: RoutingTrace, path: Path) -> None:
    """Write a trace as one Parquet file.

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
    import pyarrow.parquet as pq

    table = table_of_trace(trace)
    with atomic_write(path, "wb") as file:
        pq.write_table(
            table,
            file,
            compression="zstd",
            row_group_size=ROW_GROUP,
            write_page_checksum=True,
            # Ranges of expert ids tell nothing, and cost a third of the time.
            write_statistics=[name for name in COLUMNS if name in table.column_names],
        )


def write_parquet_folder(trace: RoutingTrace, path: Path) -> None:
    """Write a trace as a folder with `meta.json` and a Parquet part.

    Parameters
    ----------
    trace
        What to write.
    path
        The folder; it appears whole or not at all. A trace that is there already is replaced.

    Raises
    ------
    InputError
        If something else has this name, or the folder above cannot be written.
    """
    if path.exists() and not (path / META).is_file():
        raise InputError(f"{path} exists and is no trace; choose another name")
    try:
        with tempfile.TemporaryDirectory(prefix=f".{path.name}.", dir=path.parent) as scratch:
            fresh = Path(scratch) / "fresh"
            fresh.mkdir()
            write_parquet_file(trace, fresh / "part-00000.parquet")
            (fresh / META).write_text(json.dumps(trace_metadata(trace), indent=1), encoding="utf-8")
            if path.exists():
                path.rename(Path(scratch) / "old")
            fresh.rename(path)
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror or error}") from error


def read_parquet(
    path: Path, *, num_experts: int | None = None, name: str | None = None
) -> RoutingTrace:
    """Read a trace from a Parquet file or a folder of them, in the order of their names.

    Parameters
    ----------
    path
        File or folder.
    num_experts
        Not needed: the files say it.
    name
        What to call the trace; by default what the file says.

    Raises
    ------
    InputError
        If it is missing, truncated or corrupt, or holds no valid trace.
    """
    del num_experts
    from moeplace.traces.stored import open_trace

    try:
        return open_trace(path, name=name).load()
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(f"{path}: malformed trace ({first_line(error)})") from error


def is_native(path: Path) -> bool:
    """Tell whether a Parquet file carries the metadata of a trace, or is too broken to tell."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return KEY in (pq.read_schema(path).metadata or {})
    except (pa.ArrowException, OSError, ValueError):
        return True


def _labels(num_layers: int, layer_ids: tuple[int, ...] | None) -> list[str]:
    if layer_ids is None:
        return [f"row_{row}" for row in range(num_layers)]
    return [f"layer_{layer}" for layer in layer_ids]


def trace_metadata(trace: RoutingTrace) -> dict[str, Any]:
    """Return the JSON metadata of a trace."""
    return {
        "schema": SCHEMA,
        "name": trace.name,
        "num_experts": trace.num_experts,
        "top_k": trace.top_k,
        "num_layers": trace.num_layers,
        "layer_ids": None if trace.layer_ids is None else list(trace.layer_ids),
        "domains": list(trace.domains),
        "missing": trace.missing if trace.missing >= 0 else None,
        "meta": dict(trace.meta),
    }


def table_of_trace(trace: RoutingTrace) -> pa.Table:
    """Return the Arrow table of a trace, metadata in its schema."""
    import pyarrow as pa

    columns: dict[str, Any] = {}
    for column in COLUMNS:
        values = getattr(trace, column)
        if values is not None:
            columns[column] = pa.array(values)
    for row, label in enumerate(_labels(trace.num_layers, trace.layer_ids)):
        columns[label] = _lists(trace.expert_ids[:, row])
        if trace.weights is not None:
            columns[f"weights_{label.split('_')[1]}"] = _lists(trace.weights[:, row])
    text = json.dumps(trace_metadata(trace), ensure_ascii=False).encode()
    return pa.table(columns).replace_schema_metadata({KEY: text})


def _lists(values: NDArray[Any]) -> pa.FixedSizeListArray:
    import pyarrow as pa

    return pa.FixedSizeListArray.from_arrays(pa.array(values.ravel()), values.shape[1])


def trace_of_table(
    table: pa.Table, meta: dict[str, Any], num_experts: int | None, name: str
) -> RoutingTrace:
    """Return the trace of some rows; every value is checked.

    Parameters
    ----------
    table
        Rows of a Parquet trace.
    meta
        Its metadata.
    num_experts
        Experts per layer, where the metadata do not say it.
    name
        What to call it.

    Raises
    ------
    InputError
        If a column is missing or a value is out of range.
    """
    layers = meta["layer_ids"]
    layer_ids = None if layers is None else tuple(int(i) for i in layers)
    labels = _labels(int(meta["num_layers"]), layer_ids)
    missing = [label for label in labels if label not in table.column_names]
    if missing:
        raise InputError(f"column {missing[0]} is missing")
    top_k = int(meta["top_k"])
    ids = np.stack([_values(table, label, top_k) for label in labels], axis=1)
    if meta.get("missing") is not None:
        ids = np.where(ids == meta["missing"], -1, ids.astype(np.int64))
    weights = [f"weights_{label.split('_')[1]}" for label in labels]
    return RoutingTrace.from_arrays(
        ids,
        int(meta.get("num_experts") or num_experts or 0),
        layer_ids,
        weights=np.stack([_values(table, label, top_k) for label in weights], axis=1)
        if weights[0] in table.column_names
        else None,
        name=name,
        domains=[str(d) for d in meta.get("domains", ())],
        meta=meta.get("meta"),
        **{
            column: _values(table, column, 0) if column in table.column_names else None
            for column in COLUMNS
        },
    )


def _values(table: pa.Table, label: str, width: int) -> NDArray[Any]:
    """Return a column as an array: (tokens,), or (tokens, width) for lists."""
    column = table.column(label)
    if column.null_count:
        raise InputError(f"column {label} has nulls")
    chunks = [
        (chunk.flatten() if width else chunk).to_numpy(zero_copy_only=False)
        for chunk in column.chunks
    ]
    flat = np.concatenate(chunks) if chunks else np.empty(0, dtype=np.int64)
    return flat.reshape(table.num_rows, width) if width else flat
