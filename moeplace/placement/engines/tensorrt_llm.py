"""TensorRT-LLM ``load_balancer`` YAML."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from moeplace.placement.engines.rules import Rule, Wrong, keys, rectangle, table_outcomes
from moeplace.placement.formats.reading import parse_yaml, read_text

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from moeplace.placement.formats.context import ExportContext

CLASS = "tensorrt_llm MoeLoadBalancerConfig"
MAP, SLOTS, UPDATES = "initial_global_assignments", "num_slots", "layer_updates_per_iter"
RULES = (
    Rule("keys", f"{SLOTS}, {MAP}, {UPDATES} and no other", f"{CLASS} (extra fields forbidden)"),
    Rule("table", "layer: list of integers, all of one length", f"{CLASS}: dict[int, list[int]]"),
    Rule("num-slots", f"rows of {SLOTS} entries", f"{CLASS}.{SLOTS}"),
    Rule("updates", f"{UPDATES} 0 or more", f"{CLASS}.{UPDATES}"),
    Rule(
        "layers",
        "keys are the absolute ids of the MoE layers",
        "examples/wide_ep/ep_load_balancer/generate_eplb_config.py",
    ),
    Rule("ids", "experts 0..E−1", "cpp moeLoadBalancer.cpp: doPlacement"),
    Rule("coverage", "every expert in every layer", "cpp moeLoadBalancer.cpp: doReplication"),
    Rule(
        "equal-slots",
        f"{SLOTS} divisible by the expert-parallel size",
        "TensorRT-LLM pull request 13888 allows less, in part",
    ),
    Rule(
        "no-duplicates", "no expert twice on a rank", "moeLoadBalancer.cpp: doPlacement", "wastes"
    ),
)


def outcomes(path: Path, context: ExportContext) -> Iterator[tuple[str, Wrong]]:
    """Yield the rules in the order in which TensorRT-LLM meets them."""
    data = parse_yaml(read_text(path), path)
    wrong = keys(data, (SLOTS, MAP), (UPDATES,))
    yield "keys", wrong
    if wrong:
        return
    rows, slots = data[MAP], data[SLOTS]
    wrong = _not_a_map(rows)
    names = [] if wrong else [f"layer {layer}" for layer in rows]
    wrong = wrong or rectangle(list(rows.values()), names)
    yield "table", wrong
    if wrong:
        return
    table = np.array(list(rows.values()))
    same = type(slots) is int and slots == table.shape[1]
    yield "num-slots", None if same else f"{SLOTS} is {slots!r}, rows have {table.shape[1]}"
    updates = data.get(UPDATES, 0)
    good = type(updates) is int and updates >= 0
    yield "updates", None if good else f"{UPDATES} is {updates!r}"
    if context.known:
        yield "layers", _layers(list(rows), context)
    yield from table_outcomes(table, names, context, ranks=context.num_ranks)


def _not_a_map(rows: Any) -> Wrong:
    if not isinstance(rows, dict) or not rows:
        return f"{MAP} is no map of layers"
    bad = [layer for layer in rows if type(layer) is not int]
    return f"layer {bad[0]!r} is not an integer" if bad else None


def _layers(found: list[int], context: ExportContext) -> Wrong:
    absent = sorted(set(context.moe_layers) - set(found))
    if absent:
        return f"MoE layer {absent[0]} has no assignment"
    alien = sorted(set(found) - set(context.moe_layers))
    return f"layer {alien[0]} has no experts in this model" if alien else None
