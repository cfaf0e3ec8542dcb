"""TensorRT-LLM MoE load balancer YAML (``MoeLoadBalancerConfig``; examples/wide_ep).

The class forbids keys it does not know. Layer keys are absolute layer indices of MoE layers.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from moeplace.errors import InputError
from moeplace.files import atomic_write
from moeplace.placement.formats import expect
from moeplace.placement.formats.reading import parse_yaml, read_text
from moeplace.placement.formats.rules import checked
from moeplace.placement.placement import Placement

if TYPE_CHECKING:
    from pathlib import Path

    from moeplace.placement.formats.context import ExportContext

NAME = "tensorrt-llm"
ASSIGNMENTS, SLOTS, UPDATES = "initial_global_assignments", "num_slots", "layer_updates_per_iter"


def write(placement: Placement, path: str | Path, *, context: ExportContext) -> None:
    """Write a static map: absolute layer ids, one line a layer, no online updates.

    Raises
    ------
    InputError
        If the path or the model does not fit.
    CheckFailedError
        If TensorRT-LLM would refuse the placement.
    """
    placement = checked(placement, path, NAME, context)
    rows = placement.expert_of_slot.tolist()
    with atomic_write(path) as file:
        file.write(f"{ASSIGNMENTS}:\n")
        for layer, row in zip(context.moe_layers, rows, strict=True):
            file.write(f"  {layer}: [{', '.join(map(str, row))}]\n")
        file.write(f"{SLOTS}: {placement.num_slots}\n{UPDATES}: 0\n")


def read(path: str | Path, *, context: ExportContext) -> Placement:
    """Read the initial assignments; layers come back in ascending order.

    Raises
    ------
    InputError
        If the file is not such a map, or the number of ranks is not known.
    """
    data = expect.mapping(
        parse_yaml(read_text(path), path), str(path), (ASSIGNMENTS, SLOTS), (UPDATES,)
    )
    slots = expect.integer(data[SLOTS], f"{path}, key {SLOTS!r}", low=1)
    expect.integer(data.get(UPDATES, 0), f"{path}, key {UPDATES!r}")
    assignments = data[ASSIGNMENTS]
    if not isinstance(assignments, dict) or not assignments:
        raise InputError(f"{path}, key {ASSIGNMENTS!r}: a map of layers is expected")
    layers = sorted(expect.integer(layer, f"{path}, a layer key") for layer in assignments)
    if context.known and layers[-1] >= context.num_hidden_layers:
        raise InputError(
            f"{path}: layer {layers[-1]} does not exist; keys are absolute layer ids below "
            f"{context.num_hidden_layers}"
        )
    labels = [f"layer {layer}" for layer in layers]
    table = expect.expert_table(
        path, [assignments[layer] for layer in layers], labels, experts=context.num_experts
    )
    if table.shape[1] != slots:
        raise InputError(f"{path}, {labels[0]}: {table.shape[1]} slots, but {SLOTS} is {slots}")
    num_ranks, rank_of_slot = context.equal_ranks(slots, path)
    return Placement(table, rank_of_slot, context.experts(table, path), num_ranks, tuple(layers))


def usage(placement: Placement, path: str | Path) -> tuple[list[str], list[str]]:
    """Return the flags of ``trtllm-serve`` and what belongs into its configuration file."""
    notes = [
        "put into the file of --config (older releases: --extra_llm_api_options): "
        "enable_attention_dp: true",
        f"and there: moe_config: {{backend: WideEP, load_balancer: {json.dumps(str(path))}}}",
        "a model class that TensorRT-LLM does not balance ignores the map without a word",
    ]
    return [f"--tp_size {placement.num_ranks}", f"--ep_size {placement.num_ranks}"], notes
