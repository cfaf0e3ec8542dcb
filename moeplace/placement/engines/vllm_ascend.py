"""vllm-ascend ``expert_map_path``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from moeplace.placement.engines.rules import (
    Rule,
    Wrong,
    doubled,
    ending,
    keys,
    table_outcomes,
)
from moeplace.placement.formats.reading import parse_json, read_text

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from moeplace.placement.formats.context import ExportContext

FILE = "vllm_ascend/eplb/core/eplb_utils.py"
RULES = (
    Rule("ending", ".json", "vllm_ascend/ascend_config.py: expert_map_path"),
    Rule(
        "keys", "moe_layer_count, layer_list, device_list, device_expert", f"{FILE}: file to tensor"
    ),
    Rule("table", "all devices of all layers with the same number", f"{FILE}: torch.tensor"),
    Rule("counts", "moe_layer_count and device_count as listed", f"{FILE}: file to tensor"),
    Rule(
        "order",
        "layers and devices in the order of their ids; list positions are read",
        f"{FILE}: file to tensor",
        "misreads",
    ),
    Rule("layers", "one entry per MoE layer", f"{FILE}: layer_list by ordinal"),
    Rule("ranks", "one device per rank", f"{FILE}: device_list by rank"),
    Rule("ids", "experts 0..E−1", f"{FILE}: expert_map[local_placement]"),
    Rule("coverage", "every expert in every layer", f"{FILE}: log2phy"),
    Rule(
        "no-duplicates",
        "no expert twice on a device: the second overwrites the first",
        f"{FILE}: expert_map[local_placement] = arange",
        "misreads",
    ),
)


def outcomes(path: Path, context: ExportContext) -> Iterator[tuple[str, Wrong]]:
    """Yield the rules in the order in which vllm-ascend meets them."""
    yield "ending", ending(path, (".json",))
    data = parse_json(read_text(path), path)
    wrong = _keys(data)
    yield "keys", wrong
    if wrong:
        return
    layers = data["layer_list"]
    rows = [[device["device_expert"] for device in layer["device_list"]] for layer in layers]
    wrong = _table(rows)
    yield "table", wrong
    if wrong:
        return
    table = np.array(rows)
    yield "counts", _counts(data, table.shape[1])
    yield "order", _order(layers)
    if context.known:
        same = len(layers) == len(context.moe_layers)
        text = f"{len(layers)} layers for {len(context.moe_layers)} MoE layers"
        yield "layers", None if same else text
    ranks = table.shape[1]
    if context.num_ranks is not None:
        same = ranks == context.num_ranks
        yield "ranks", None if same else f"{ranks} devices for {context.num_ranks} ranks"
    names = [f"layer_list entry {number}" for number in range(len(layers))]
    flat = table.reshape(len(layers), -1)
    yield from table_outcomes(flat, names, context, ranks=None)
    yield "no-duplicates", doubled(flat, names, ranks)


def _keys(data: Any) -> Wrong:
    wrong = keys(data, ("moe_layer_count", "layer_list"), None)
    if wrong or not isinstance(data["layer_list"], list) or not data["layer_list"]:
        return wrong or "layer_list is no list of layers"
    for number, layer in enumerate(data["layer_list"]):
        wrong = keys(layer, ("device_count", "device_list"), None)
        if wrong or not isinstance(layer["device_list"], list):
            return f"layer_list entry {number}: {wrong or 'device_list is no list'}"
        for place, device in enumerate(layer["device_list"]):
            wrong = keys(device, ("device_expert",), None)
            if wrong:
                return f"layer_list entry {number}, device {place}: {wrong}"
    return None


def _table(rows: list[list[Any]]) -> Wrong:
    for number, devices in enumerate(rows):
        if not devices or len(devices) != len(rows[0]):
            return f"layer_list entry {number}: {len(devices)} devices, entry 0 has {len(rows[0])}"
        for place, experts in enumerate(devices):
            where = f"layer_list entry {number}, device {place}"
            if not isinstance(experts, list) or any(type(e) is not int for e in experts):
                return f"{where}: device_expert is no list of integers"
            if not experts or len(experts) != len(rows[0][0]):
                return f"{where}: {len(experts)} experts, the first device has {len(rows[0][0])}"
    return None


def _counts(data: dict[str, Any], devices: int) -> Wrong:
    layers = data["layer_list"]
    if data["moe_layer_count"] != len(layers):
        return f"moe_layer_count is {data['moe_layer_count']!r}, {len(layers)} layers are listed"
    for number, layer in enumerate(layers):
        if layer["device_count"] != devices:
            return (
                f"layer_list entry {number}: device_count is {layer['device_count']!r}, "
                f"{devices} devices are listed"
            )
    return None


def _order(layers: list[dict[str, Any]]) -> Wrong:
    for number, layer in enumerate(layers):
        if layer.get("layer_id", number) != number:
            return f"layer_list entry {number} has layer_id {layer['layer_id']!r}"
        for place, device in enumerate(layer["device_list"]):
            if device.get("device_id", place) != place:
                return f"layer_list entry {number}: device {place} has id {device['device_id']!r}"
    return None
