"""vLLM ``initial_mapping_path`` (open pull request 41141)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from moeplace.placement.engines.rules import Rule, Wrong, keys, rectangle, table_outcomes
from moeplace.placement.formats.reading import parse_json, read_text

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from moeplace.placement.formats.context import ExportContext

SOURCE = "vllm-project/vllm pull request 41141"
RECORD, MAP = "eplb_initial_mapping", "initial_global_assignments"
REDUNDANT = "num_redundant_experts"
RULES = (
    Rule("record", f"one line with record_type {RECORD}; others are ignored", SOURCE),
    Rule("keys", f"version, {REDUNDANT}, num_slots, {MAP}", f"{SOURCE}: record"),
    Rule("version", "1", f"{SOURCE}: record"),
    Rule("ordinals", 'layers "0".."L−1", counted over MoE layers', f"{SOURCE}: {MAP}"),
    Rule("table", "rows of one length, integers", f"{SOURCE}: {MAP}"),
    Rule("layers", "one row per MoE layer", f"{SOURCE}: {MAP}"),
    Rule("num-slots", "rows of num_slots entries", f"{SOURCE}: num_slots"),
    Rule("redundant", f"{REDUNDANT} = slots − experts, as the server's", f"{SOURCE}: {REDUNDANT}"),
    Rule("ids", "experts 0..E−1", SOURCE),
    Rule("coverage", "every expert in every row", SOURCE),
    Rule("equal-slots", "slots divisible by the ranks", "vllm-project/vllm issue 52435"),
    Rule("no-duplicates", "no expert twice on a rank", "deepseek-ai/EPLB issue 22", "wastes"),
)


def outcomes(path: Path, context: ExportContext) -> Iterator[tuple[str, Wrong]]:
    """Yield the rules in the order in which the pull request checks them."""
    found = _records(path)
    one = len(found) == 1
    yield "record", None if one else f"{len(found)} lines with record_type {RECORD!r}"
    if not one:
        return
    record = found[0]
    wrong = keys(record, ("version", REDUNDANT, "num_slots", MAP), None)
    yield "keys", wrong
    if wrong:
        return
    version = record["version"]
    yield "version", None if version == 1 else f"version is {version!r}"
    rows = record[MAP]
    ordinals = isinstance(rows, dict) and set(rows) == {str(i) for i in range(len(rows))}
    yield "ordinals", None if ordinals else f"{MAP} has other keys than 0, 1, ..."
    if not ordinals:
        return
    ordered = [rows[str(number)] for number in range(len(rows))]
    names = [f"layer {number}" for number in range(len(rows))]
    wrong = rectangle(ordered, names)
    yield "table", wrong
    if wrong:
        return
    table = np.array(ordered)
    if context.known:
        same = len(ordered) == len(context.moe_layers)
        yield (
            "layers",
            None if same else f"{len(ordered)} layers for {len(context.moe_layers)} MoE layers",
        )
    slots, redundant = record["num_slots"], record[REDUNDANT]
    yield (
        "num-slots",
        None if slots == table.shape[1] else f"num_slots is {slots!r}, rows have {table.shape[1]}",
    )
    experts = context.num_experts if context.known else int(table.max()) + 1
    fits = redundant == table.shape[1] - experts
    yield (
        "redundant",
        None
        if fits
        else f"{REDUNDANT} is {redundant!r}: {table.shape[1]} slots, {experts} experts",
    )
    yield from table_outcomes(table, names, context, ranks=context.num_ranks)


def _records(path: Path) -> list[dict[str, Any]]:
    found = []
    for number, line in enumerate(read_text(path).split("\n"), start=1):
        if line.strip():
            record = parse_json(line, f"{path}, line {number}")
            if isinstance(record, dict) and record.get("record_type") == RECORD:
                found.append(record)
    return found
