"""vLLM ``initial_expert_map_path`` (open pull request 49572)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from moeplace.placement.engines.rules import Rule, Wrong, rectangle, row_names, table_outcomes
from moeplace.placement.formats.reading import parse_json, read_text

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from moeplace.placement.formats.context import ExportContext

SOURCE = "vllm-project/vllm pull request 49572"
RULES = (
    Rule("table", "a list of integers, or one list per MoE layer", SOURCE),
    Rule("layers", "one row per MoE layer, dense ones left out", f"{SOURCE}: dimensions"),
    Rule("ids", "experts 0..E−1", f"{SOURCE}: range of ids"),
    Rule("coverage", "every expert in every row", f"{SOURCE}: full coverage"),
    Rule("equal-slots", "slots divisible by the ranks", "vllm-project/vllm issue 52435"),
    Rule("no-duplicates", "no expert twice on a rank", "deepseek-ai/EPLB issue 22", "wastes"),
)


def outcomes(path: Path, context: ExportContext) -> Iterator[tuple[str, Wrong]]:
    """Yield the rules in the order in which the pull request checks them."""
    rows = parse_json(read_text(path), path)
    flat = isinstance(rows, list) and bool(rows) and not isinstance(rows[0], list)
    if flat:
        rows = [rows]
    names = row_names(len(rows) if isinstance(rows, list) else 0)
    wrong = rectangle(rows, names)
    yield "table", wrong
    if wrong:
        return
    if context.known:
        same = flat or len(rows) == len(context.moe_layers)
        yield (
            "layers",
            None if same else f"{len(rows)} rows for {len(context.moe_layers)} MoE layers",
        )
    yield from table_outcomes(np.array(rows), names, context, ranks=context.num_ranks)
