"""OmniPlacement (omni-infer) ``pattern_path``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from moeplace.placement.engines.rules import Rule, Wrong
from moeplace.placement.formats.reading import read_npy

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from moeplace.placement.formats.context import ExportContext

PATTERN = "omni-infer OmniPlacement, expert pattern"
RULES = (
    Rule("table", "an integer array (devices, MoE layers, experts)", f"{PATTERN}: shape"),
    Rule("zero-one", "0 or 1", f"{PATTERN}: values"),
    Rule("layers", "one row per MoE layer (max_moe_layer_num)", "omni-infer config.yaml"),
    Rule("experts", "one column per expert", f"{PATTERN}: shape"),
    Rule("ranks", "one entry per rank", f"{PATTERN}: shape"),
    Rule("coverage", "every expert on one device at least", f"{PATTERN}: check of coverage"),
    Rule(
        "equal-experts",
        "the same number of experts on every device of a layer; layers may differ",
        f"{PATTERN}: check of equal numbers",
    ),
)


def outcomes(path: Path, context: ExportContext) -> Iterator[tuple[str, Wrong]]:
    """Yield the rules in the order in which OmniPlacement meets them."""
    array = read_npy(path)
    good = array.ndim == 3 and array.dtype.kind in "iub" and array.size > 0
    yield "table", None if good else f"{array.dtype} with shape {array.shape}"
    if not good:
        return
    wrong = np.argwhere((array != 0) & (array != 1))
    if wrong.size:
        device, layer, expert = wrong[0]
        value = array[device, layer, expert]
        yield "zero-one", f"device {device}, layer {layer}, expert {expert}: {value}"
        return
    yield "zero-one", None
    devices, layers, experts = array.shape
    if context.known:
        wanted = len(context.moe_layers)
        yield "layers", None if layers == wanted else f"{layers} rows for {wanted} MoE layers"
        same = experts == context.num_experts
        yield "experts", None if same else f"{experts} columns for {context.num_experts} experts"
    if context.num_ranks is not None:
        same = devices == context.num_ranks
        yield "ranks", None if same else f"{devices} devices for {context.num_ranks} ranks"
    held = array.astype(bool)
    missing = np.argwhere(~held.any(axis=0))
    text = f"row {missing[0, 0]}: expert {missing[0, 1]} is nowhere" if missing.size else None
    yield "coverage", text
    counts = held.sum(axis=2)
    uneven = np.flatnonzero(counts.min(axis=0) != counts.max(axis=0))
    if not uneven.size:
        yield "equal-experts", None
        return
    row = uneven[0]
    yield (
        "equal-experts",
        f"row {row}: {counts[:, row].min()} to {counts[:, row].max()} experts on a device",
    )
