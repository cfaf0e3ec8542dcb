"""TensorRT-LLM's expert statistics: `meta_info.json` beside `rank<r>.safetensors`.

A tensor `"<iteration>_<layer>"` holds int32 counts [experts], logical ids, absolute layer ids.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import numpy as np

from moeplace.errors import InputError
from moeplace.traces.importers.json_text import read_json
from moeplace.traces.safetensors import open_safetensors
from moeplace.traces.workload import Workload

if TYPE_CHECKING:
    from pathlib import Path

META = "meta_info.json"
FILE = re.compile(r"rank\d+\.safetensors")  # not rank0_raw, not cooccurrence_rank0
KEY = re.compile(r"(\d+)_(\d+)")


def recognizes(path: Path) -> bool:
    """Tell whether it is a folder with the two kinds of files."""
    return path.is_dir() and (path / META).is_file() and bool(_files(path))


def read(path: Path, *, num_experts: int | None = None, name: str | None = None) -> Workload:
    """Read counts, summed over ranks and iterations.

    Parameters
    ----------
    path
        The folder.
    num_experts
        Logical experts per layer, checked.
    name
        What to call the workload; the name of the folder by default.

    Raises
    ------
    InputError
        If a file is broken or does not fit the others.
    """
    meta = read_json(path / META) if path.is_dir() else None
    if not isinstance(meta, dict):
        raise InputError(f"{path}: no folder with {META}, a JSON object")
    try:
        experts, top_k = int(meta["num_experts"]), int(meta["num_experts_per_token"])
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"{path / META}: num_experts and num_experts_per_token expected"
        ) from error
    if num_experts not in (None, experts):
        raise InputError(f"{path}: {experts} experts a layer, {num_experts} expected")
    files = _files(path)
    if not files:
        raise InputError(f"{path}: no rank<r>.safetensors in the folder")
    loads: dict[int, Any] = {}
    iterations: set[int] = set()
    for file in files:
        content = open_safetensors(file)
        for key in content.tensors:
            match = KEY.fullmatch(key)
            if match is None:
                raise InputError(f"{file}: key {key!r} is no <iteration>_<layer>")
            counts = content.array(key)
            if counts.shape != (experts,) or counts.dtype.kind not in "iu":
                raise InputError(f"{file}: {key!r} is {counts.dtype} {counts.shape}")
            iterations.add(int(match[1]))
            layer = int(match[2])
            loads[layer] = loads.get(layer, 0) + counts.astype(np.float64)
    if not loads:
        raise InputError(f"{path}: no counts in it")
    layers = sorted(loads)
    try:
        return Workload.from_loads(
            np.stack([loads[layer] for layer in layers]),
            top_k=top_k,
            layer_ids=layers,
            name=name or path.name,
            source=f"{path.name}, {len(files)} ranks, {len(iterations)} iterations",
        )
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


def _files(path: Path) -> list[Path]:
    return sorted(file for file in path.glob("*.safetensors") if FILE.fullmatch(file.name))
