"""SGLang ``--init-expert-location FILE.json`` (sglang, ``ExpertLocationMetadata.init_by_mapping``).

The file has one key: SGLang passes all keys on as arguments and stops at one it does not know.
There is one row per hidden layer, dense ones included. A dense row is never used to route, yet it
must name every expert: SGLang divides by the number of replicas of each.
"""

from __future__ import annotations

import json
import shlex
from typing import TYPE_CHECKING

import numpy as np

from moeplace.errors import InputError
from moeplace.files import atomic_write
from moeplace.placement.formats import expect
from moeplace.placement.formats.reading import parse_json, read_text
from moeplace.placement.formats.rules import checked
from moeplace.placement.placement import Placement

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from moeplace.placement.formats.context import ExportContext

NAME = "sglang"
KEY = "physical_to_logical_map"


def write(placement: Placement, path: str | Path, *, context: ExportContext) -> None:
    """Write one row per hidden layer; dense rows are ``arange(slots) % experts``.

    Raises
    ------
    InputError
        If the path or the model does not fit.
    CheckFailedError
        If SGLang would refuse the placement.
    """
    placement = checked(placement, path, NAME, context)
    trivial = np.arange(placement.num_slots) % placement.num_experts
    table = np.tile(trivial, (context.num_hidden_layers, 1))
    table[list(context.moe_layers)] = placement.expert_of_slot
    rows = ",\n".join(json.dumps(row) for row in table.tolist())
    with atomic_write(path) as file:
        file.write(f'{{"{KEY}": [\n{rows}\n]}}\n')


def read(path: str | Path, *, context: ExportContext) -> Placement:
    """Read a map; with a model only its MoE rows are kept, without one all rows.

    Raises
    ------
    InputError
        If the file is not such a map, has another number of layers than the model, a dense row
        lacks an expert, or the number of ranks is not known.
    """
    data = parse_json(read_text(path), path)
    if isinstance(data, dict) and KEY not in data and "logical_count" in data:
        raise InputError(f"{path}: these are recorded loads (logical_count), not a map")
    found = expect.mapping(data, str(path), (KEY,))
    rows = expect.sequence(found[KEY], f"{path}, key {KEY!r}")
    _check_rows(path, len(rows), context)
    labels = [f"row {row}" for row in range(len(rows))]
    table = expect.expert_table(path, rows, labels, experts=context.num_experts)
    num_ranks, rank_of_slot = context.equal_ranks(table.shape[1], path)
    num_experts = context.experts(table, path)
    layer_ids = tuple(range(len(rows)))
    if context.known:
        _check_dense_rows(path, table, context)
        layer_ids = context.moe_layers
        table = table[list(layer_ids)]
    return Placement(table, rank_of_slot, num_experts, num_ranks, layer_ids)


def usage(placement: Placement, path: str | Path) -> tuple[list[str], list[str]]:
    """Return the flags of ``sglang.launch_server``."""
    redundant = placement.num_slots - placement.num_experts
    flags = [
        f"--ep-size {placement.num_ranks}",
        f"--ep-num-redundant-experts {redundant}",
        f"--init-expert-location {shlex.quote(str(path))}",
    ]
    notes = ["without --enable-eplb the map stays; with it SGLang replaces it after some passes"]
    if redundant:
        notes.append(
            "redundant experts need an all-to-all backend (--moe-a2a-backend); releases before "
            "sglang pull request 32962 answer wrongly without one"
        )
    return flags, notes


def _check_rows(path: str | Path, rows: int, context: ExportContext) -> None:
    if context.known and rows != context.num_hidden_layers:
        raise InputError(
            f"{path}: {rows} rows, but SGLang reads one per hidden layer of the model: "
            f"{context.num_hidden_layers}, dense layers included"
        )


def _check_dense_rows(path: str | Path, table: NDArray[np.int32], context: ExportContext) -> None:
    every = np.arange(context.num_experts)
    for layer in sorted(set(range(context.num_hidden_layers)) - set(context.moe_layers)):
        missing = np.setdiff1d(every, table[layer])
        if missing.size:
            raise InputError(
                f"{path}, row {layer}: this dense layer lacks expert {missing[0]}, which stops "
                "SGLang; write arange(slots) % experts there"
            )
