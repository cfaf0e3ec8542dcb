"""moeplace's own JSON: one line per layer, exact round trip, unknown keys refused."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np

from moeplace.errors import InputError
from moeplace.files import atomic_write
from moeplace.placement.formats import expect, native
from moeplace.placement.formats.reading import parse_json, read_text
from moeplace.placement.formats.rules import checked

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from moeplace.placement.formats.context import ExportContext
    from moeplace.placement.placement import Placement

NAME = "native-json"


def write(
    placement: Placement,
    path: str | Path,
    *,
    context: ExportContext,
    metadata: Mapping[str, Any] | None = None,
) -> None:
    """Write the placement as it is, empty slots included.

    Raises
    ------
    InputError
        If the path does not end in .json or the metadata is not JSON.
    """
    placement = checked(placement, path, NAME, context)
    lines = [
        f'  "schema": {json.dumps(native.SCHEMA)}',
        f'  "num_experts": {placement.num_experts}',
        f'  "num_ranks": {placement.num_ranks}',
    ]
    if placement.layer_ids is not None:
        lines.append(f'  "layer_ids": {json.dumps(list(placement.layer_ids))}')
    if metadata:
        lines.append(f'  "metadata": {native.metadata_text(metadata, path)}')
    lines.append(f'  "rank_of_slot": {json.dumps(placement.rank_of_slot.tolist())}')
    rows = ",\n".join(f"    {json.dumps(row)}" for row in placement.expert_of_slot.tolist())
    lines.append(f'  "expert_of_slot": [\n{rows}\n  ]')
    with atomic_write(path) as file:
        file.write("{\n" + ",\n".join(lines) + "\n}\n")


def read(path: str | Path, *, context: ExportContext) -> Placement:
    """Read a placement.

    Raises
    ------
    InputError
        If the file is not a complete native file.
    """
    data = _load(path)
    num_experts = native.positive(data["num_experts"], path, "num_experts")
    num_ranks = native.positive(data["num_ranks"], path, "num_ranks")
    context.check_ranks(num_ranks, path)
    rows = expect.sequence(data["expert_of_slot"], f"{path}, key 'expert_of_slot'")
    labels = [f"expert_of_slot row {row}" for row in range(len(rows))]
    table = expect.expert_table(path, rows, labels, experts=num_experts, empty=True)
    ranks = [
        expect.integer(rank, f"{path}, rank_of_slot entry {slot}", high=num_ranks - 1)
        for slot, rank in enumerate(
            expect.sequence(data["rank_of_slot"], f"{path}, key 'rank_of_slot'", table.shape[1])
        )
    ]
    layer_ids = data.get("layer_ids")
    if layer_ids is not None:
        ids = expect.sequence(layer_ids, f"{path}, key 'layer_ids'", len(rows))
        layer_ids = tuple(expect.integer(layer, f"{path}, key 'layer_ids'") for layer in ids)
    return native.build(path, table, np.array(ranks, np.int32), num_experts, num_ranks, layer_ids)


def read_metadata(path: str | Path) -> dict[str, Any]:
    """Return the metadata of a native JSON file, empty where it has none.

    Raises
    ------
    InputError
        If the file is not a native file.
    """
    return _metadata(_load(path), path)


def usage(placement: Placement, path: str | Path) -> tuple[list[str], list[str]]:
    """No server reads this file."""
    del placement, path
    return [], []


def _load(path: str | Path) -> dict[str, Any]:
    data = parse_json(read_text(path), path)
    if isinstance(data, dict):
        native.check_schema(data.get("schema"), path)
    found = expect.mapping(data, str(path), native.REQUIRED, native.OPTIONAL)
    _metadata(found, path)
    return found


def _metadata(data: Mapping[str, Any], path: str | Path) -> dict[str, Any]:
    metadata = data.get("metadata", {})
    if not isinstance(metadata, dict):
        raise InputError(f"{path}, key 'metadata': a mapping is expected")
    return metadata
