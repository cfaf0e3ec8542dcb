"""vLLM ``eplb_config.initial_mapping_path`` (open pull request vllm-project/vllm 41141).

One line of JSON; layer keys are MoE-layer ordinals as strings. Experimental.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from moeplace.errors import InputError
from moeplace.files import atomic_write
from moeplace.placement.formats import expect
from moeplace.placement.formats.reading import parse_json, read_text
from moeplace.placement.formats.rules import checked
from moeplace.placement.formats.vllm_list import vllm_flags, vllm_notes
from moeplace.placement.placement import Placement

if TYPE_CHECKING:
    from pathlib import Path

    from moeplace.placement.formats.context import ExportContext

NAME = "vllm-jsonl"
RECORD, VERSION = "eplb_initial_mapping", 1
ASSIGNMENTS = "initial_global_assignments"
KEYS = ("record_type", "version", "num_redundant_experts", "num_slots", ASSIGNMENTS)


def write(placement: Placement, path: str | Path, *, context: ExportContext) -> None:
    """Write the one record of an initial mapping.

    Raises
    ------
    InputError
        If the path or the model does not fit.
    CheckFailedError
        If vLLM would refuse the placement.
    """
    placement = checked(placement, path, NAME, context)
    record = {
        "record_type": RECORD,
        "version": VERSION,
        "num_redundant_experts": placement.num_slots - placement.num_experts,
        "num_slots": placement.num_slots,
        ASSIGNMENTS: {
            str(ordinal): row for ordinal, row in enumerate(placement.expert_of_slot.tolist())
        },
    }
    with atomic_write(path) as file:
        file.write(json.dumps(record) + "\n")


def read(path: str | Path, *, context: ExportContext) -> Placement:
    """Read the initial mapping; records of other types are passed over, as vLLM does.

    Raises
    ------
    InputError
        If there is no such record or more than one, it is not complete, or the number of ranks
        is not known.
    """
    record, where = _mapping_record(path)
    expect.mapping(record, where, KEYS)
    if type(record["version"]) is not int or record["version"] != VERSION:
        raise InputError(f"{where}: version {record['version']!r}, expected {VERSION}")
    slots = expect.integer(record["num_slots"], f"{where}, key 'num_slots'", low=1)
    redundant = expect.integer(record["num_redundant_experts"], f"{where}, redundant experts")
    assignments = record[ASSIGNMENTS]
    if not isinstance(assignments, dict) or not assignments:
        raise InputError(f"{where}, key {ASSIGNMENTS!r}: a map of layers is expected")
    ordinals = [str(ordinal) for ordinal in range(len(assignments))]
    expect.mapping(assignments, f"{where}, key {ASSIGNMENTS!r} (MoE-layer ordinals)", ordinals)
    table = expect.expert_table(
        where,
        [assignments[ordinal] for ordinal in ordinals],
        [f"layer {ordinal}" for ordinal in ordinals],
        experts=context.num_experts,
    )
    num_experts = context.experts(table, path)
    if table.shape[1] != slots or slots - num_experts != redundant:
        raise InputError(
            f"{where}: {table.shape[1]} slots for {num_experts} experts, but num_slots is {slots} "
            f"and num_redundant_experts is {redundant}"
        )
    num_ranks, rank_of_slot = context.equal_ranks(slots, path)
    layer_ids = context.layer_ids(table.shape[0], path)
    return Placement(table, rank_of_slot, num_experts, num_ranks, layer_ids)


def usage(placement: Placement, path: str | Path) -> tuple[list[str], list[str]]:
    """Return the flags of ``vllm serve`` with the pull request applied."""
    config = {"initial_mapping_path": str(path), "disable_online_rebalancing": True}
    return vllm_flags(placement, config), vllm_notes(placement, 41141)


def _mapping_record(path: str | Path) -> tuple[dict[str, Any], str]:
    found: list[tuple[dict[str, Any], str]] = []
    for number, line in enumerate(read_text(path).split("\n"), start=1):
        if not line.strip():
            continue
        where = f"{path}, line {number}"
        record = parse_json(line, where)
        if not isinstance(record, dict) or not isinstance(record.get("record_type"), str):
            raise InputError(f"{where}: an object with a record_type is expected")
        if record["record_type"] == RECORD:
            found.append((record, where))
    if len(found) != 1:
        raise InputError(f"{path}: {len(found)} records of type {RECORD!r}, expected one")
    return found[0]
