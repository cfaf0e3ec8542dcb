"""KTransformers: counts that choose the experts on the GPU."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from moeplace.placement.engines.rules import Rule, Wrong, ending
from moeplace.placement.formats.ktransformers import counts_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from moeplace.placement.formats.context import ExportContext

FILE = "sglang (kvcache-ai) kt_ep_wrapper.py: _init_kt_gpu_experts_masks"
RULES = (
    Rule("ending", ".pt; another file is passed over and no counts are used", FILE, "misreads"),
    Rule("table", "logical_count (steps, hidden layers, experts), three dimensions", FILE),
    Rule("layers", "as many layers as num_hidden_layers, dense ones included", FILE),
    Rule("experts", "one column per expert", FILE),
    Rule(
        "dense-rows",
        "rows of dense layers are 0, or they use up places on the GPU",
        "kt-kernel generate_gpu_experts_masks (top-k over all layers)",
        "misreads",
    ),
    Rule("values", "finite and ≥ 0", "kt-kernel generate_gpu_experts_masks", "misreads"),
)


def outcomes(path: Path, context: ExportContext) -> Iterator[tuple[str, Wrong]]:
    """Yield the rules in the order in which KTransformers meets them."""
    wrong = ending(path, (".pt",))
    yield "ending", wrong
    if wrong:
        return
    counts = counts_of(path)
    good = counts.ndim == 3
    yield "table", None if good else f"shape {counts.shape}"
    if not good:
        return
    _, layers, experts = counts.shape
    if context.known:
        wanted = context.num_hidden_layers
        yield "layers", None if layers == wanted else f"{layers} rows for {wanted} hidden layers"
        same = experts == context.num_experts
        yield "experts", None if same else f"{experts} columns for {context.num_experts} experts"
        if layers == wanted:
            dense = sorted(set(range(wanted)) - set(context.moe_layers))
            used = [layer for layer in dense if counts[:, layer].any()]
            yield "dense-rows", f"dense layer {used[0]} has counts" if used else None
    bad = np.argwhere(~(np.isfinite(counts) & (counts >= 0)))
    text = f"step {bad[0, 0]}, layer {bad[0, 1]}, expert {bad[0, 2]}" if bad.size else None
    yield "values", text
