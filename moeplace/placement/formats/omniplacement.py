"""OmniPlacement pattern (omni-infer): 0/1 array (devices, MoE layers, experts).

The number of experts on a device may differ between layers, never between devices of a layer.
The pattern keeps sets only: what comes back has the experts of every rank in ascending order.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from moeplace.errors import InputError
from moeplace.files import atomic_write
from moeplace.placement.formats.reading import read_npy
from moeplace.placement.formats.rules import checked
from moeplace.placement.placement import Placement

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from moeplace.placement.formats.context import ExportContext

NAME = "omniplacement"


def to_pattern(placement: Placement) -> NDArray[np.int32]:
    """Return (devices, layers, experts) int32, 1 where the device holds the expert."""
    held = placement.replicas_on_rank > 0
    return np.ascontiguousarray(held.transpose(2, 0, 1)).astype(np.int32)


def from_pattern(
    pattern: NDArray[np.generic], layer_ids: tuple[int, ...] | None = None
) -> Placement:
    """Build a placement from a 0/1 array (devices, layers, experts).

    Every rank gets as many slots as the fullest device of any layer needs; where fewer experts
    are, the last slots are empty. `format_violations` tells what the engine would refuse.

    Raises
    ------
    InputError
        If the array is not 0/1 or holds nothing.
    """
    array = np.asarray(pattern)
    if array.ndim != 3 or array.dtype.kind not in "iub" or not array.size:
        raise InputError(
            "an integer array (devices, MoE layers, experts) is expected, "
            f"not {array.dtype} with shape {array.shape}"
        )
    wrong = np.argwhere((array != 0) & (array != 1))
    if wrong.size:
        device, layer, expert = wrong[0]
        raise InputError(f"device {device}, layer {layer}, expert {expert}: neither 0 nor 1")
    held = array.astype(bool)
    if not held.any():
        raise InputError("no device holds an expert")
    counts = held.sum(axis=2)
    devices, layers, experts = held.shape
    width = int(counts.max())
    table = np.full((layers, devices, width), -1, np.int32)
    device, layer, expert = np.nonzero(held)
    slot = np.cumsum(held, axis=2)[device, layer, expert] - 1
    table[layer, device, slot] = expert
    return Placement(
        table.reshape(layers, devices * width),
        np.repeat(np.arange(devices, dtype=np.int32), width),
        experts,
        devices,
        layer_ids,
    )


def write(placement: Placement, path: str | Path, *, context: ExportContext) -> None:
    """Write the pattern as int32.

    Raises
    ------
    InputError
        If the path or the model does not fit.
    CheckFailedError
        If an expert is missing or twice on a device, or devices of a layer hold unequal numbers.
    """
    pattern = to_pattern(checked(placement, path, NAME, context))
    with atomic_write(path, "wb") as file:
        np.save(file, pattern, allow_pickle=False)


def read(path: str | Path, *, context: ExportContext) -> Placement:
    """Read a pattern of any integer type.

    Raises
    ------
    InputError
        If the file is not such a pattern or belongs to another model.
    """
    array = read_npy(path)
    if array.ndim == 3:
        context.check_ranks(array.shape[0], path)
        if context.known and array.shape[2] != context.num_experts:
            raise InputError(
                f"{path}: {array.shape[2]} experts a layer, the model has {context.num_experts}"
            )
    try:
        placement = from_pattern(array)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    return placement.replace(layer_ids=context.layer_ids(placement.num_layers, path))


def usage(placement: Placement, path: str | Path) -> tuple[list[str], list[str]]:
    """OmniPlacement is set up by files: return what belongs into them."""
    most = int(placement.replica_count.max(initial=1)) - 1
    return [], [
        f"put into OmniPlacement's config.yaml: pattern_path: {path}",
        f"and there: max_redundant_per_expert of at least {most}, enable_dynamic: false",
        "name that file as omni_placement_config_path beside use_omni_placement: true",
    ]
