"""vllm-ascend ``expert_map_path`` JSON (vllm_ascend/eplb/core/eplb_utils.py).

The engine reads the list position of a layer and of a device, not the ids beside them, makes one
tensor per layer (so all devices hold the same number) and one slot per expert and device (so an
expert twice on a device would lose one of the two).
"""

from __future__ import annotations

import json
import shlex
from typing import TYPE_CHECKING, Any

import numpy as np

from moeplace.errors import InputError
from moeplace.files import atomic_write
from moeplace.placement.formats import expect
from moeplace.placement.formats.reading import parse_json, read_text
from moeplace.placement.formats.rules import checked
from moeplace.placement.placement import Placement

if TYPE_CHECKING:
    from pathlib import Path

    from moeplace.placement.formats.context import ExportContext

NAME = "vllm-ascend"


def write(placement: Placement, path: str | Path, *, context: ExportContext) -> None:
    """Write MoE layers by ordinal; the path must end in .json, or the engine refuses it.

    Raises
    ------
    InputError
        If the path or the model does not fit.
    CheckFailedError
        If the engine would refuse or misread the placement.
    """
    placement = checked(placement, path, NAME, context)
    ranks, layers = placement.num_ranks, placement.num_layers
    table = placement.expert_of_slot.reshape(layers, ranks, -1).tolist()
    blocks = [
        f'{{"layer_id": {layer}, "device_count": {ranks}, "device_list": [\n'
        + ",\n".join(
            json.dumps({"device_id": device, "device_expert": experts})
            for device, experts in enumerate(devices)
        )
        + "]}"
        for layer, devices in enumerate(table)
    ]
    with atomic_write(path) as file:
        file.write(f'{{"moe_layer_count": {layers}, "layer_list": [\n')
        file.write(",\n".join(blocks) + "\n]}\n")


def read(path: str | Path, *, context: ExportContext) -> Placement:
    """Read a map; ids must agree with list positions, which are what the engine goes by.

    Raises
    ------
    InputError
        If the file is not such a map, devices hold unequal numbers of experts, or an expert is
        twice on a device.
    """
    data = expect.mapping(
        parse_json(read_text(path), path), str(path), ("moe_layer_count", "layer_list")
    )
    count = expect.integer(data["moe_layer_count"], f"{path}, key 'moe_layer_count'", low=1)
    layers = expect.sequence(data["layer_list"], f"{path}, key 'layer_list'", count)
    layer_ids = context.layer_ids(count, path)
    rows = [
        _devices(layer, f"{path}, layer_list entry {ordinal}", ordinal, context)
        for ordinal, layer in enumerate(layers)
    ]
    num_ranks, width = len(rows[0]), len(rows[0][0])
    context.check_ranks(num_ranks, path)
    for ordinal, devices in enumerate(rows):
        if (len(devices), len(devices[0])) != (num_ranks, width):
            raise InputError(
                f"{path}, layer_list entry {ordinal}: {len(devices)} devices with "
                f"{len(devices[0])} experts, but entry 0 has {num_ranks} with {width}"
            )
    table = np.array(rows, np.int32).reshape(count, num_ranks * width)
    rank_of_slot = np.repeat(np.arange(num_ranks, dtype=np.int32), width)
    return Placement(table, rank_of_slot, context.experts(table, path), num_ranks, layer_ids)


def usage(placement: Placement, path: str | Path) -> tuple[list[str], list[str]]:
    """Return the flags of ``vllm serve`` on Ascend."""
    config: dict[str, Any] = {"expert_map_path": str(path)}
    if placement.num_slots > placement.num_experts:
        config["num_redundant_experts"] = placement.num_slots - placement.num_experts
    text = json.dumps({"eplb_config": config}, ensure_ascii=False)
    notes = [
        f"tensor-parallel × data-parallel size must be {placement.num_ranks}",
        "the engine takes expert maps with W8A8-dynamic weights only",
    ]
    return ["--enable-expert-parallel", f"--additional-config {shlex.quote(text)}"], notes


def _devices(layer: Any, where: str, ordinal: int, context: ExportContext) -> list[list[int]]:
    found = expect.mapping(layer, where, ("layer_id", "device_count", "device_list"))
    _position(found["layer_id"], f"{where}, key 'layer_id'", ordinal)
    count = expect.integer(found["device_count"], f"{where}, key 'device_count'", low=1)
    devices = expect.sequence(found["device_list"], f"{where}, key 'device_list'", count)
    rows: list[list[int]] = []
    for position, device in enumerate(devices):
        place = f"{where}, device_list entry {position}"
        entry = expect.mapping(device, place, ("device_id", "device_expert"))
        _position(entry["device_id"], f"{place}, key 'device_id'", position)
        row = expect.expert_row(entry["device_expert"], place, experts=context.num_experts)
        if len(set(row)) < len(row):
            twice = next(expert for expert in row if row.count(expert) > 1)
            raise InputError(f"{place}: expert {twice} is there twice; only one copy would be used")
        if not row:
            raise InputError(f"{place}: the device holds no expert")
        if rows and len(row) != len(rows[0]):
            raise InputError(
                f"{place}: {len(row)} experts, but entry 0 has {len(rows[0])}; "
                "all devices need the same number"
            )
        rows.append(row)
    return rows


def _position(value: Any, where: str, position: int) -> None:
    if expect.integer(value, where) != position:
        raise InputError(
            f"{where}: {value} at list position {position}; the engine goes by the position, so "
            "the two must agree"
        )
