r"""llama.cpp ``--override-tensor``: whole layers on devices, never single experts.

llama.cpp keeps the experts of a layer in three fused tensors (``blk.N.ffn_{gate,up,down}_exps``),
and an override gives a tensor to one device: a placement fits if all experts of each layer lie on
one rank. The file holds the arguments, one device a line, to be given as ``$(cat FILE)``::

    -ot blk\.(3|4)\.ffn_(gate|up|down|gate_up)_exps\.=CUDA0
"""

from __future__ import annotations

import re
import shlex
from typing import TYPE_CHECKING

import numpy as np

from moeplace.errors import InputError
from moeplace.files import atomic_write
from moeplace.placement.formats.reading import read_text
from moeplace.placement.formats.rules import checked
from moeplace.placement.placement import Placement

if TYPE_CHECKING:
    from pathlib import Path

    from moeplace.placement.formats.context import ExportContext

NAME = "llama-cpp"
TENSORS = r"ffn_(gate|up|down|gate_up)_exps\."
LINE = re.compile(r"-ot blk\\\.\((\d+(?:\|\d+)*)\)\\\." + re.escape(TENSORS) + r"=(CPU|CUDA\d+)")


def write(placement: Placement, path: str | Path, *, context: ExportContext) -> None:
    """Write one line for each rank that holds layers; rank r is ``CUDA<r>``.

    Raises
    ------
    InputError
        If the path or the model does not fit.
    CheckFailedError
        If the experts of a layer lie on several ranks.
    """
    placement = checked(placement, path, NAME, context)
    rank = placement.replicas_on_rank.any(axis=1).argmax(axis=1)
    with atomic_write(path) as file:
        for device in range(placement.num_ranks):
            layers = [
                str(layer)
                for layer, at in zip(context.moe_layers, rank, strict=True)
                if at == device
            ]
            if layers:
                file.write(rf"-ot blk\.({'|'.join(layers)})\.{TENSORS}=CUDA{device}" + "\n")


def read(path: str | Path, *, context: ExportContext) -> Placement:
    """Read the lines that `write` makes; ``CPU`` is the last rank.

    Slots of the rank of a layer hold its experts in ascending order.

    Raises
    ------
    InputError
        If a line is of another kind, a layer is given twice, the model or the number of ranks is
        not known, or a MoE layer of the model has no device.
    """
    if not context.known or context.num_ranks is None:
        raise InputError(f"{path}: the file tells neither experts nor ranks; give model and ranks")
    device_of: dict[int, int] = {}
    for number, line in enumerate(read_text(path).splitlines(), start=1):
        match = LINE.fullmatch(line.strip())
        if match is None:
            raise InputError(f"{path}, line {number}: '-ot PATTERN=DEVICE' as moeplace writes it")
        host = match[2] == "CPU"
        device = context.num_ranks - 1 if host else int(match[2].removeprefix("CUDA"))
        if device >= context.num_ranks:
            raise InputError(f"{path}, line {number}: {match[2]} with {context.num_ranks} ranks")
        for layer in map(int, match[1].split("|")):
            if layer in device_of:
                raise InputError(f"{path}, line {number}: layer {layer} is given twice")
            device_of[layer] = device
    alien = sorted(set(device_of) - set(context.moe_layers))
    absent = sorted(set(context.moe_layers) - set(device_of))
    if alien or absent:
        text = f"layer {alien[0]} has no experts" if alien else f"layer {absent[0]} has no device"
        raise InputError(f"{path}: {text} in this model")
    ranks = np.array([device_of[layer] for layer in context.moe_layers])
    return Placement.from_rank_of_expert(
        np.repeat(ranks[:, None], context.num_experts, axis=1),
        num_ranks=context.num_ranks,
        layer_ids=context.moe_layers,
    )


def usage(placement: Placement, path: str | Path) -> tuple[list[str], list[str]]:
    """Return the arguments of ``llama-server``."""
    del placement
    return [f"$(cat {shlex.quote(str(path))})"], [
        "layer granularity: the experts of a layer are one tensor, so llama.cpp cannot place "
        "single experts",
        "write another buffer in place of CUDA<r> where rank r is one, for example CPU",
    ]
