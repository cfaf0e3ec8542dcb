"""Router logits of Hugging Face models (`output_router_logits=True`), safetensors or npz.

One array a MoE layer, [tokens, experts] or [requests, tokens, experts], under a name with the
layer id as its last number (`router_logits.3`); or one array `router_logits`
[layers, tokens, experts]. The top_k largest logits of a token are taken as its experts, their
softmax as weights. A router with groups or a selection bias chooses otherwise.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from moeplace.errors import InputError
from moeplace.traces.archives import open_archive
from moeplace.traces.importers.options import ImportOptions, Unit
from moeplace.traces.npz import read_arrays
from moeplace.traces.safetensors import looks_like_safetensors, open_safetensors
from moeplace.traces.trace import RoutingTrace

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

WORD = "router_logits"
NUMBER = re.compile(r"(\d+)(?!.*\d)")
SUFFIXES = (".safetensors", ".npz")


def recognizes(path: Path) -> bool:
    """Tell whether an array of the file (of the first file in a folder) is called so."""
    if path.is_dir():
        files = _files(path)
        return bool(files) and recognizes(files[0])
    if not path.is_file():
        return False
    try:
        if looks_like_safetensors(path):
            return any(WORD in name for name in open_safetensors(path).tensors)
        with path.open("rb") as file:
            if file.read(2) != b"PK":
                return False
        with open_archive(path) as archive:
            return any(WORD in name for name in archive.namelist())
    except (InputError, ValueError):
        return False


def units(path: Path, options: ImportOptions) -> list[Unit]:
    """Return one unit a file."""
    del options
    files = _files(path) if path.is_dir() else [path]
    return [Unit(str(file), size=file.stat().st_size, label=file.stem) for file in files]


def read(
    path: Path,
    *,
    num_experts: int | None = None,
    name: str | None = None,
    options: ImportOptions | None = None,
) -> RoutingTrace:
    """Read a file, or every file of a folder; a batch entry is a request.

    Parameters
    ----------
    path
        A file or folder.
    num_experts
        Experts per layer, checked.
    name
        What to call the trace.
    options
        `top_k`, which no file says unless its metadata do.

    Raises
    ------
    InputError
        If a file is broken, top_k is not known, or layers differ in shape.
    """
    from dataclasses import replace

    from moeplace.traces.sources import join_traces

    given = replace(options or ImportOptions(), num_experts=num_experts)
    if not path.exists():
        raise InputError(f"{path}: no such file")
    traces = [read_unit(unit, given) for unit in units(path, given)]
    if not traces:
        raise InputError(f"{path}: no file of router logits in it")
    return join_traces(traces).replace(name=name or path.stem)


def read_unit(unit: Unit, options: ImportOptions, bad: list[str] | None = None) -> RoutingTrace:
    """Read one file."""
    del bad
    path = Path(unit.path)
    arrays, said = _arrays(path)
    top_k = options.top_k or said
    if top_k is None:
        raise InputError(f"{path}: logits do not say top_k; name the model with --model")
    layers, tables = _layers(path, arrays)
    shapes = {table.shape for table in tables}
    if len(shapes) > 1:
        raise InputError(f"{path}: layers of different shapes {sorted(shapes)}")
    shape = tables[0].shape
    experts = shape[-1]
    if options.num_experts not in (None, experts):
        raise InputError(f"{path}: {experts} experts a layer, {options.num_experts} expected")
    if not 1 <= top_k <= experts:
        raise InputError(f"{path}: top_k {top_k} of {experts} experts")
    chosen, weights = zip(*(_choose(path, table, top_k) for table in tables), strict=True)
    tokens = chosen[0].shape[0]
    request = np.zeros(tokens, dtype=np.int64)
    if len(shape) == 3:
        request = np.repeat(np.arange(shape[0]), shape[1])
    return RoutingTrace.from_arrays(
        np.stack(chosen, axis=1),
        experts,
        layers,
        request=request,
        position=np.arange(tokens) % (shape[1] if len(shape) == 3 else max(tokens, 1)),
        weights=np.stack(weights, axis=1),
        name=path.stem,
        meta={
            "source": f"router logits, {path.name}",
            "warnings": [
                f"experts are the top {top_k} of the logits; a router with groups or a selection "
                "bias chooses otherwise"
            ],
        },
    )


def _files(path: Path) -> list[Path]:
    return sorted(f for f in path.iterdir() if f.suffix in SUFFIXES and f.is_file())


def _arrays(path: Path) -> tuple[Mapping[str, NDArray[Any]], int | None]:
    if looks_like_safetensors(path):
        file = open_safetensors(path)
        names = [name for name in file.tensors if WORD in name]
        text = file.metadata.get("top_k")
        said = int(text) if isinstance(text, str) and text.isdecimal() else None
        return {name: file.array(name) for name in names}, said
    arrays = read_arrays(path)
    said = int(arrays["top_k"]) if "top_k" in arrays and arrays["top_k"].size == 1 else None
    return {name: array for name, array in arrays.items() if WORD in name}, said


def _layers(
    path: Path, arrays: Mapping[str, NDArray[Any]]
) -> tuple[list[int] | None, list[NDArray[Any]]]:
    if not arrays:
        raise InputError(f"{path}: no array called {WORD}")
    for name, array in arrays.items():
        if array.dtype.kind != "f" or array.ndim not in (2, 3) or not array.size:
            raise InputError(f"{path}: {name!r} is {array.dtype} {array.shape}, logits expected")
    if len(arrays) == 1 and not NUMBER.search(next(iter(arrays))):
        whole = next(iter(arrays.values()))
        if whole.ndim != 3:
            raise InputError(f"{path}: {WORD} is {whole.shape}; [layers, tokens, experts] expected")
        return None, list(whole)
    numbered = {}
    for name, array in arrays.items():
        match = NUMBER.search(name)
        if match is None or int(match[1]) in numbered:
            raise InputError(f"{path}: {name!r} does not end in a layer id of its own")
        numbered[int(match[1])] = array
    order = sorted(numbered)
    return order, [numbered[layer] for layer in order]


def _choose(path: Path, table: NDArray[Any], top_k: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return ids, best first, ties to the lower id, and the softmax of the chosen logits."""
    logits = np.asarray(table, dtype=np.float32).reshape(-1, table.shape[-1])
    if not np.isfinite(logits).all():
        raise InputError(f"{path}: logits that are not finite")
    ids = np.argsort(-logits, axis=1, kind="stable")[:, :top_k]
    scale = np.exp(logits - logits.max(axis=1, keepdims=True))
    weights = np.take_along_axis(scale, ids, axis=1) / scale.sum(axis=1, keepdims=True)
    return ids, weights
