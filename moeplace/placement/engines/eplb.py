"""The three arrays that deepseek-ai/EPLB returns."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from moeplace.placement.engines.rules import Rule, Wrong, row_names, table_outcomes
from moeplace.placement.formats.reading import read_npz

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from moeplace.placement.formats.context import ExportContext

FILE = "deepseek-ai/EPLB eplb.py: rebalance_experts"
RULES = (
    Rule("keys", "phy2log, log2phy and logcnt", FILE),
    Rule("table", "integers (layers, slots), (layers, experts, X), (layers, experts)", FILE),
    Rule("layers", "one row per MoE layer", FILE),
    Rule("ids", "experts 0..E−1", FILE),
    Rule("coverage", "every expert in every row", "eplb.py: replicate_experts"),
    Rule("logcnt", "the number of slots of each expert", FILE),
    Rule("log2phy", "the slots of each expert, −1 behind them", FILE),
    Rule("equal-slots", "num_replicas % num_gpus == 0", f"{FILE}, assert"),
    Rule("no-duplicates", "no expert twice on a device", "EPLB issue 22", "wastes"),
)


def outcomes(path: Path, context: ExportContext) -> Iterator[tuple[str, Wrong]]:
    """Yield the rules that EPLB's own results keep."""
    data = read_npz(path)
    absent = [name for name in ("phy2log", "log2phy", "logcnt") if name not in data]
    yield "keys", f"array {absent[0]!r} is missing" if absent else None
    if absent:
        return
    phy2log, log2phy, logcnt = (data[name] for name in ("phy2log", "log2phy", "logcnt"))
    wrong = _shapes(phy2log, log2phy, logcnt)
    yield "table", wrong
    if wrong:
        return
    layers, experts = logcnt.shape
    if context.known:
        wanted = len(context.moe_layers)
        yield "layers", None if layers == wanted else f"{layers} rows for {wanted} MoE layers"
    names = row_names(layers)
    good = True
    for name, text in table_outcomes(phy2log, names, context, ranks=context.num_ranks):
        good = good and not (name == "ids" and text)
        yield name, text
    good = good and int(phy2log.max()) < experts
    if not good:
        return
    count = np.stack([np.bincount(row, minlength=experts) for row in phy2log])
    at = np.argwhere(count != logcnt)
    text = (
        None if not at.size else f"row {at[0, 0]}, expert {at[0, 1]}: {count[tuple(at[0])]} slots"
    )
    yield "logcnt", text
    if text is None:
        yield "log2phy", _log2phy(phy2log, log2phy, logcnt)


def _shapes(phy2log: NDArray[Any], log2phy: NDArray[Any], logcnt: NDArray[Any]) -> Wrong:
    arrays = (("phy2log", phy2log, 2), ("log2phy", log2phy, 3), ("logcnt", logcnt, 2))
    for name, array, dimensions in arrays:
        if array.ndim != dimensions or array.dtype.kind not in "iu" or not array.size:
            return f"{name} is {array.dtype} with shape {array.shape}"
    if phy2log.shape[0] != logcnt.shape[0] or log2phy.shape[:2] != logcnt.shape:
        return f"shapes {phy2log.shape}, {log2phy.shape} and {logcnt.shape} do not fit"
    return None


def _log2phy(phy2log: NDArray[Any], log2phy: NDArray[Any], logcnt: NDArray[Any]) -> Wrong:
    for row, expert in np.ndindex(logcnt.shape):
        number = int(logcnt[row, expert])
        listed = log2phy[row, expert]
        slots = np.flatnonzero(phy2log[row] == expert)
        if sorted(listed[:number]) != slots.tolist() or (listed[number:] != -1).any():
            return f"row {row}, expert {expert}: {listed.tolist()}, its slots are {slots.tolist()}"
    return None
