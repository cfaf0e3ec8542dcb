"""SGLang's expert distribution recorder, `.pt`: the modes stat, stat_approx and per_pass.

stat: `logical_count` [steps, layers, experts], already summed over ranks, zeros in unused steps.
per_pass: `records` with `global_physical_count` [layers, slots] of every rank and pass, and
`last_physical_to_logical_map`; one file a rank, which are summed when a folder is read.
Layers are all layers of the model, dense ones zero.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from moeplace.errors import InputError
from moeplace.traces.importers.physical import logical_counts, slot_map
from moeplace.traces.importers.torch_head import mentions
from moeplace.traces.torch_zip import read_torch
from moeplace.traces.workload import Workload

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray


def recognizes(path: Path) -> bool:
    """Tell whether it is a dump of counts, or a folder of them."""
    files = sorted(path.glob("*.pt")) if path.is_dir() else [path]
    return bool(files) and (
        mentions(files[0], "logical_count") or mentions(files[0], "global_physical_count")
    )


def read(path: Path, *, num_experts: int | None = None, name: str | None = None) -> Workload:
    """Read counts, summed over steps, passes and ranks.

    Parameters
    ----------
    path
        A file, or a folder with the files of all ranks.
    num_experts
        Logical experts per layer, checked.
    name
        What to call the workload.

    Raises
    ------
    InputError
        If a file is broken or of another kind, or the files do not fit each other.
    """
    files = sorted(path.glob("*.pt")) if path.is_dir() else [path]
    if not files:
        raise InputError(f"{path}: no .pt file in the folder")
    total: NDArray[Any] | None = None
    for file in files:
        counts = _counts(file, num_experts)
        if total is not None and counts.shape != total.shape:
            raise InputError(f"{file}: shape {counts.shape}, the files before {total.shape}")
        total = counts if total is None else total + counts
    source = path.name if len(files) == 1 else f"{path.name}, {len(files)} files"
    try:
        return Workload.from_loads(np.asarray(total), name=name or path.stem, source=source)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


def _counts(file: Path, num_experts: int | None) -> NDArray[Any]:
    content = read_torch(file)
    if not isinstance(content, dict):
        raise InputError(f"{file}: a dictionary of SGLang's recorder expected")
    if "logical_count" in content:
        counts = np.asarray(content["logical_count"])
        if counts.dtype.kind not in "iuf" or counts.ndim not in (2, 3):
            raise InputError(f"{file}: logical_count has shape {counts.shape}")
        if not np.isfinite(counts).all() or (counts < 0).any():
            raise InputError(f"{file}: logical_count must be finite and ≥ 0")
        counts = counts.astype(np.float64)
        counts = counts.sum(axis=0) if counts.ndim == 3 else counts
        if num_experts not in (None, counts.shape[1]):
            raise InputError(f"{file}: {counts.shape[1]} experts a layer, {num_experts} expected")
        return counts
    records = content.get("records")
    if not isinstance(records, list) or "last_physical_to_logical_map" not in content:
        raise InputError(f"{file}: neither logical_count nor records with a map")
    table, experts = slot_map(content["last_physical_to_logical_map"], str(file), num_experts)
    slots = np.zeros(table.shape)
    for place, record in enumerate(records):
        try:
            slots += np.asarray(record["global_physical_count"], dtype=np.float64)
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(
                f"{file}: record {place} has no global_physical_count of shape {table.shape}; "
                "per_token files are read as sglang-tokens"
            ) from error
    counts = logical_counts(slots, table, experts, str(file))
    return np.asarray(counts)
