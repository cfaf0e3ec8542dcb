"""KTransformers: which experts lie on the GPU, as counts for its strategy ``frequency``.

KTransformers takes no map. With ``--kt-expert-placement-strategy frequency`` it adds up the counts
``logical_count`` (steps, hidden layers, experts) of ``--init-expert-location FILE.pt`` and puts the
most used experts, all layers together, on the GPU (``_init_kt_gpu_experts_masks`` of its SGLang,
``generate_gpu_experts_masks`` of kt-kernel). Counts of 1 on the GPU and 0 on the host therefore
force the choice. Rank 0 of the placement is the GPU, rank 1 the host.
"""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from moeplace.errors import InputError
from moeplace.placement.formats.rules import checked
from moeplace.placement.placement import Placement
from moeplace.traces.torch_write import write_torch
from moeplace.traces.torch_zip import read_torch

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from moeplace.placement.formats.context import ExportContext

NAME = "ktransformers"
KEY = "logical_count"


def write(placement: Placement, path: str | Path, *, context: ExportContext) -> None:
    """Write counts of 1 for the experts of rank 0; one row per hidden layer, dense ones 0.

    Raises
    ------
    InputError
        If the path or the model does not fit.
    CheckFailedError
        If there are not two ranks, or an expert has not exactly one slot.
    """
    placement = checked(placement, path, NAME, context)
    counts = np.zeros((1, context.num_hidden_layers, context.num_experts), np.int32)
    counts[0, list(context.moe_layers)] = placement.replicas_on_rank[:, :, 0]
    write_torch(path, {"rank": 0, KEY: counts})


def read(path: str | Path, *, context: ExportContext) -> Placement:
    """Read such a file; slots of a rank hold its experts in ascending order.

    Raises
    ------
    InputError
        If the file has other numbers than 0 and 1 (recorded loads), or belongs to another model.
    """
    counts = counts_of(path)
    context.check_ranks(2, path)
    if counts.ndim != 3 or counts.shape[0] != 1:
        raise InputError(
            f"{path}: {KEY} has shape {counts.shape}; (1, hidden layers, experts) expected"
        )
    if not np.isin(counts, (0, 1)).all():
        raise InputError(f"{path}: these are recorded loads, not a choice of experts (0 or 1)")
    table = counts[0]
    layer_ids = tuple(range(table.shape[0]))
    if context.known:
        if table.shape != (context.num_hidden_layers, context.num_experts):
            raise InputError(
                f"{path}: {KEY} has {table.shape[0]} layers of {table.shape[1]} experts, the model "
                f"{context.num_hidden_layers} hidden layers of {context.num_experts}"
            )
        layer_ids = context.moe_layers
        dense = np.delete(table, list(layer_ids), axis=0)
        if dense.any():
            raise InputError(f"{path}: a dense layer has counts; they use up places on the GPU")
        table = table[list(layer_ids)]
    rank = 1 - table.astype(np.int64)
    return Placement.from_rank_of_expert(rank, num_ranks=2, layer_ids=layer_ids)


def usage(placement: Placement, path: str | Path) -> tuple[list[str], list[str]]:
    """Return the flags of ``sglang.launch_server`` with kt-kernel."""
    on_gpu = int((placement.replicas_on_rank[:, :, 0] > 0).sum())
    total = placement.num_layers * placement.num_experts
    flags = [
        f"--kt-gpu-experts-ratio {gpu_ratio(on_gpu, total)}",
        "--kt-expert-placement-strategy frequency",
        f"--init-expert-location {shlex.quote(str(path))}",
    ]
    return flags, [
        f"{on_gpu} of {total} experts on the GPU; the ratio is rounded down to that by the server",
        "give --kt-weight-path as well, and not --kt-enable-dynamic-expert-update, which would "
        "choose again",
    ]


def gpu_ratio(on_gpu: int, total: int) -> str:
    """Return a decimal number that, times `total`, is rounded down to `on_gpu`.

    ``int(total * ratio)`` is what the server computes (``_init_kt_gpu_experts_masks``).
    """
    text = f"{min(1.0, (on_gpu + 0.5) / total):.9f}"
    return text if on_gpu < total else "1.0"


def counts_of(path: str | Path) -> NDArray[Any]:
    """Return the counts in a file of SGLang's recorder, or its single tensor.

    Raises
    ------
    InputError
        If it is no such file.
    """
    found = read_torch(Path(path))
    if isinstance(found, dict):
        if KEY not in found:
            raise InputError(f"{path}: key {KEY!r} is missing")
        found = found[KEY]
    if not isinstance(found, np.ndarray) or found.dtype.kind not in "iuf":
        raise InputError(f"{path}: a tensor of counts is expected")
    return found
