"""LMDeploy: loads, from which it makes a map of its own with EPLB's algorithm."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from moeplace.placement.engines.rules import Rule, Wrong
from moeplace.placement.formats.reading import parse_json, read_text

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from moeplace.placement.formats.context import ExportContext

FILE = "lmdeploy/pytorch/nn/eplb.py: EPLBMetadata.init"
GROUPS, RANKS_PER_NODE, REDUNDANT = 4, 8, 32  # lmdeploy/pytorch/envs.py, defaults
RULES = (
    Rule("table", "a table of numbers ≥ 0, rows of one length", f"{FILE}, torch.tensor"),
    Rule("layers", "one row per hidden layer, dense ones included", f"{FILE}, assert"),
    Rule("experts", "one column per expert", f"{FILE}, assert"),
    Rule(
        "equal-slots",
        f"E + {REDUNDANT} (LMDEPLOY_EPLB_NUM_REDUNDANT_EXPERTS) divisible by the ranks",
        "lmdeploy/pytorch/nn/eplb.py: rebalance_experts, assert",
    ),
    Rule(
        "packed",
        f"{GROUPS} groups (LMDEPLOY_EPLB_NUM_GROUPS) divisible by the nodes, else replicas are "
        "not balanced over the ranks",
        "lmdeploy/pytorch/nn/eplb.py: rebalance_experts returns replicate_experts",
        "wastes",
    ),
)


def outcomes(path: Path, context: ExportContext) -> Iterator[tuple[str, Wrong]]:
    """Yield the rules in the order in which LMDeploy meets them, with its default settings."""
    rows = parse_json(read_text(path), path)
    wrong = _numbers(rows)
    yield "table", wrong
    if wrong:
        return
    experts = len(rows[0])
    if context.known:
        wanted = context.num_hidden_layers
        text = f"{len(rows)} rows for {wanted} hidden layers"
        yield "layers", None if len(rows) == wanted else text
        same = experts == context.num_experts
        yield "experts", None if same else f"{experts} columns for {context.num_experts} experts"
    ranks = context.num_ranks
    if ranks is None:
        return
    slots = experts + REDUNDANT
    yield "equal-slots", f"{slots} slots for {ranks} ranks" if slots % ranks else None
    nodes = -(-ranks // RANKS_PER_NODE)
    yield "packed", f"{GROUPS} groups for {nodes} nodes" if GROUPS % nodes else None


def _numbers(rows: Any) -> Wrong:
    if not isinstance(rows, list) or not rows or not isinstance(rows[0], list) or not rows[0]:
        return "no list of lists"
    for number, row in enumerate(rows):
        if not isinstance(row, list) or len(row) != len(rows[0]):
            return f"row {number} is no list of {len(rows[0])} numbers"
        bad = [v for v in row if isinstance(v, bool) or not isinstance(v, int | float) or v < 0]
        if bad:
            return f"row {number} holds {bad[0]!r}"
    return None
