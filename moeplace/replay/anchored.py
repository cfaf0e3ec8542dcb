"""Slots in proportion to loads, as near to the map in use as grouping allows."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from moeplace.replay.maps import proportional

if TYPE_CHECKING:
    from numpy.typing import NDArray


def anchored_layer(table: NDArray[np.int32], load: NDArray[np.float64]) -> NDArray[np.int32]:
    """Return one layer's slots in proportion to loads, changing few of those in use.

    Every expert keeps its slots up to its new number, first on the ranks that hold most of them,
    so that few ranks have to synchronize. Experts that gain slots, those with most first, take
    free slots on ranks that they are on, then on the rank with most free slots.

    Parameters
    ----------
    table
        (ranks, slots) experts, −1 empty.
    load
        (experts,) in any unit.
    """
    ranks, slots = table.shape
    count = proportional(load, ranks * slots)
    on = np.zeros((load.size, ranks), np.int64)
    rank, _ = np.nonzero(table >= 0)
    np.add.at(on, (table[table >= 0], rank), 1)
    kept = np.zeros_like(on)
    for expert in range(load.size):
        left = int(count[expert])
        for r in np.argsort(-on[expert], kind="stable"):
            kept[expert, r] = min(left, on[expert, r])
            left -= int(kept[expert, r])
    free = slots - kept.sum(axis=0)
    missing = count - kept.sum(axis=1)
    for expert in np.argsort(-missing, kind="stable"):
        left = int(missing[expert])
        while left > 0:
            near = np.where((kept[expert] > 0) & (free > 0), free, 0)
            r = int(near.argmax()) if near.any() else int(free.argmax())
            take = min(left, int(free[r]))
            kept[expert, r] += take
            free[r] -= take
            left -= take
    out = np.empty_like(table)
    experts = np.arange(load.size, dtype=np.int32)
    for r in range(ranks):
        out[r] = np.repeat(experts, kept[:, r])
    return out
