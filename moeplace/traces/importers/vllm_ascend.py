"""vllm-ascend's `expert_load_view.pt`: a tensor of loads [layers, experts], logical ids."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from moeplace.errors import InputError
from moeplace.traces.importers.torch_head import pickle_head
from moeplace.traces.torch_zip import read_torch
from moeplace.traces.workload import Workload

if TYPE_CHECKING:
    from pathlib import Path


def recognizes(path: Path) -> bool:
    """Tell whether it is a file of `torch.save` that holds one tensor."""
    return b"_rebuild_tensor_v2" in pickle_head(path)[:64]


def read(path: Path, *, num_experts: int | None = None, name: str | None = None) -> Workload:
    """Read the loads.

    Parameters
    ----------
    path
        The file.
    num_experts
        Logical experts per layer, checked.
    name
        What to call the workload.

    Raises
    ------
    InputError
        If it is broken or no table.
    """
    loads = read_torch(path)
    if not isinstance(loads, np.ndarray) or loads.ndim != 2 or loads.dtype.kind not in "iuf":
        raise InputError(f"{path}: one tensor [layers, experts] expected")
    if num_experts not in (None, loads.shape[1]):
        raise InputError(f"{path}: {loads.shape[1]} experts a layer, {num_experts} expected")
    try:
        return Workload.from_loads(loads, name=name or path.stem, source=path.name)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
