"""SGLang ``--init-expert-location FILE``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from moeplace.placement.engines.rules import (
    Rule,
    Wrong,
    ending,
    keys,
    rectangle,
    row_names,
    table_outcomes,
)
from moeplace.placement.formats.reading import parse_json, read_text
from moeplace.traces.torch_zip import read_torch

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from moeplace.placement.formats.context import ExportContext

FILE = "sglang/srt/eplb/expert_location.py"
MAP = "physical_to_logical_map"
RULES = (
    Rule("ending", ".json or .pt", f"{FILE}: compute_initial_expert_location_metadata"),
    Rule("keys", f"one key, {MAP}; others are unknown arguments", f"{FILE}: init_by_mapping"),
    Rule("table", "rows of one length, integers", f"{FILE}: init_by_mapping, torch.tensor"),
    Rule("layers", "one row per hidden layer, dense ones included", f"{FILE}: _init_raw"),
    Rule("ids", "experts 0..E−1", f"{FILE}: _compute_logical_to_all_physical_map"),
    Rule("coverage", "every expert in every row, dense ones too", f"{FILE}: _fair_choices"),
    Rule("equal-slots", "slots divisible by --ep-size", f"{FILE}: _init_common, assert"),
    Rule(
        "no-duplicates",
        "no expert twice on a rank",
        "deepseek-ai/EPLB issue 22: the second copy serves nothing more",
        "wastes",
    ),
)


def outcomes(path: Path, context: ExportContext) -> Iterator[tuple[str, Wrong]]:
    """Yield the rules in the order in which SGLang meets them."""
    wrong = ending(path, (".json", ".pt"))
    yield "ending", wrong
    if wrong:
        return
    data = _content(path)
    wrong = keys(data, (MAP,))
    yield "keys", wrong
    if wrong:
        return
    rows = data[MAP]
    names = row_names(len(rows) if isinstance(rows, list) else 0)
    wrong = rectangle(rows, names)
    yield "table", wrong
    if wrong:
        return
    if context.known:
        given = len(rows) == context.num_hidden_layers
        yield (
            "layers",
            None if given else f"{len(rows)} rows for {context.num_hidden_layers} hidden layers",
        )
    yield from table_outcomes(np.array(rows), names, context, ranks=context.num_ranks)


def _content(path: Path) -> Any:
    if path.suffix != ".pt":
        return parse_json(read_text(path), path)
    found = read_torch(path)
    if not isinstance(found, dict):
        return found
    return {key: v.tolist() if isinstance(v, np.ndarray) else v for key, v in found.items()}
