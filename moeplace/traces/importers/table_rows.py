"""Columns of a table of others, wide or long, as a trace."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np

from moeplace.errors import InputError
from moeplace.traces.trace import PHASES, RoutingTrace

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from moeplace.traces.importers.options import ImportOptions

COLUMNS = ("experts", "weights", "layer", "token", "request", "position", "phase", "domain")


def trace_of_columns(
    path: Path, columns: dict[str, list[Any]], options: ImportOptions
) -> RoutingTrace:
    """Return the trace that a table holds.

    Parameters
    ----------
    path
        The file, for messages.
    columns
        Cells of each column, by our names.
    options
        `num_experts` where it is known.

    Raises
    ------
    InputError
        If cells are malformed, a token lacks a layer, or ids are out of range.
    """
    if not columns["experts"]:
        raise InputError(f"{path}: no row in it")
    ids = _cells(path, columns["experts"], "experts", np.int64)
    weights = None
    if "weights" in columns:
        weights = _cells(path, columns["weights"], "weights", np.float64)
    rest: dict[str, Any] = {
        name: _column(path, name, columns[name])
        for name in ("token", "request", "position", "phase", "domain", "layer")
        if name in columns
    }
    layers = None
    if "layer" in rest:
        ids, weights, rest, layers = _from_long(path, ids, weights, rest)
    elif ids.ndim == 2:
        ids = ids[:, None, :]
        weights = None if weights is None else weights[:, None, :]
    rest.pop("token", None)
    if ids.ndim != 3 or (weights is not None and weights.shape != ids.shape):
        raise InputError(f"{path}: experts have shape {ids.shape}; give [layers][top_k] a token")
    warnings = []
    experts = options.num_experts
    if experts is None:
        experts = int(ids.max()) + 1
        warnings.append(
            f"the table does not say how many experts there are; {experts} is the largest id + 1"
        )
    try:
        return RoutingTrace.from_arrays(
            ids,
            experts,
            layers,
            weights=weights,
            name=path.stem,
            meta={"source": f"table {path.name}", "warnings": warnings},
            **rest,
        )
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


def _cells(path: Path, cells: list[Any], what: str, dtype: Any) -> NDArray[Any]:
    if isinstance(cells[0], str):
        cells = [_list(path, text, row, what) for row, text in enumerate(cells)]
    try:
        table = np.array(cells)
    except ValueError as error:
        raise InputError(f"{path}: {what} of different lengths") from error
    kinds = "iu" if dtype is np.int64 else "iuf"
    if table.dtype.kind not in kinds or table.ndim not in (1, 2, 3):
        raise InputError(f"{path}: {what} are no lists of numbers of one length")
    return table.astype(dtype)[:, None] if table.ndim == 1 else table.astype(dtype)


def _list(path: Path, text: str, row: int, what: str) -> Any:
    try:
        if text.lstrip().startswith("["):
            return json.loads(text)
        parts = text.replace(";", " ").split()
        return [int(part) for part in parts] if what == "experts" else [float(p) for p in parts]
    except (ValueError, RecursionError) as error:
        raise InputError(
            f"{path}: row {row}: {what} {text[:40]!r} is no list of numbers"
        ) from error


def _column(path: Path, name: str, cells: list[Any]) -> NDArray[Any]:
    if name == "domain":
        return np.array([str(cell) for cell in cells])
    if name == "phase" and isinstance(cells[0], str) and not cells[0].isdecimal():
        names = np.array([str(cell) for cell in cells])
        unknown = ~np.isin(names, PHASES)
        if unknown.any():
            raise InputError(f"{path}: phase {names[unknown][0]!r} is neither prefill nor decode")
        return names
    try:
        return np.array([int(cell) for cell in cells], dtype=np.int64)
    except (TypeError, ValueError, OverflowError):
        pass
    if name != "request":
        raise InputError(f"{path}: column {name} holds no whole numbers")
    # Names of requests are numbered in the order of their first row.
    first: dict[str, int] = {}
    return np.array([first.setdefault(str(cell), len(first)) for cell in cells])


def _from_long(
    path: Path, ids: NDArray[Any], weights: NDArray[Any] | None, rest: dict[str, NDArray[Any]]
) -> tuple[NDArray[Any], NDArray[Any] | None, dict[str, NDArray[Any]], tuple[int, ...]]:
    """Gather the rows of each token, tokens in the order of their first row."""
    if ids.ndim != 2:
        raise InputError(f"{path}: with a column layer, experts hold [top_k]")
    keys = [rest[name] for name in ("token", "request", "position") if name in rest]
    if not {"token", "position"} & set(rest):
        raise InputError(f"{path}: with a column layer, rows need request and position, or token")
    layer = rest.pop("layer")
    layers, column = np.unique(layer, return_inverse=True)
    _, first, token = np.unique(
        np.stack(keys, axis=1), axis=0, return_index=True, return_inverse=True
    )
    order = np.argsort(first, kind="stable")
    place = np.empty_like(order)
    place[order] = np.arange(order.size)
    token = place[token.ravel()]
    cell = token * layers.size + column
    counts = np.bincount(cell, minlength=order.size * layers.size)
    if (counts != 1).any():
        bad = int(np.flatnonzero(counts != 1)[0])
        raise InputError(
            f"{path}: token {bad // layers.size} has {counts[bad]} rows of layer "
            f"{layers[bad % layers.size]}; one expected"
        )
    by_cell = np.argsort(cell, kind="stable")
    shape = (order.size, layers.size, ids.shape[1])
    kept = {name: values[first[order]] for name, values in rest.items()}
    moved = None if weights is None else weights[by_cell].reshape(shape)
    return ids[by_cell].reshape(shape), moved, kept, tuple(int(i) for i in layers)
