"""Search over replica counts: one expert gives a replica to another."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

GAIN = 1e-12  # relative improvement below which a step counts as rounding error
NOBODY = -1


def exchange_replicas(
    load: NDArray[np.float64],
    count: NDArray[np.int64],
    table: NDArray[np.int32],
    *,
    target: float,
    tries: int,
    givers: int,
    keep_all: bool,
) -> float:
    """Lower the largest rank load of a layer by changing replica counts, in place; return it.

    A taker gets one more replica from a giver: an expert with several whose remaining ones stay
    lightest. Takers are the experts of the fullest rank, then the others. Unless `keep_all`, a
    replica may also be given up, and an unused one taken. The layer is packed and balanced afresh
    and kept if it improved.

    Parameters
    ----------
    load
        (experts,) loads.
    count
        (experts,) replicas; changed.
    table
        (ranks, slots) experts, −1 empty; changed.
    target
        Load that is good enough.
    tries, givers
        Packings in all, and givers considered for each taker.
    keep_all
        Whether the number of replicas stays as it is.
    """
    from moeplace.formulations.heuristics.packing_kernels import balance_layer, pack_layer

    most = int(count.sum())
    order = np.argsort(-load / count, kind="stable")
    other = np.empty_like(table)
    best = float(_rank_loads(load / count, table).max())
    improved = True
    while improved and best > target:
        improved = False
        for taker, giver in _exchanges(load, count, table, best, givers, most, keep_all):
            if tries == 0:
                return best
            tries -= 1
            changed = count.copy()
            if taker != NOBODY:
                changed[taker] += 1
            if giver != NOBODY:
                changed[giver] -= 1
            share = load / changed
            pack_layer(share, changed, order, other)
            value = balance_layer(share, other, target)
            if value < best * (1.0 - GAIN):
                best, improved = float(value), True
                count[:], table[:] = changed, other
                break
    return best


def _exchanges(
    load: NDArray[np.float64],
    count: NDArray[np.int64],
    table: NDArray[np.int32],
    limit: float,
    givers: int,
    most: int,
    keep_all: bool,
) -> Iterator[tuple[int, int]]:
    """Yield (taker, giver) in the order they are tried; `NOBODY` stands for an unused replica."""
    share = load / count
    fullest = table[_rank_loads(share, table).argmax()]
    urgent = np.zeros(load.size, bool)
    urgent[fullest[fullest >= 0]] = True
    takers = np.lexsort((-share, ~urgent))
    takers = takers[count[takers] < table.shape[0]]
    remaining = load / np.maximum(count - 1, 1)
    can_give = np.flatnonzero((count > 1) & (remaining < limit))
    can_give = can_give[np.argsort(remaining[can_give], kind="stable")]
    spare = [] if count.sum() >= most else [NOBODY]
    for taker in [*takers.tolist(), *([] if keep_all else [NOBODY])]:
        offers = [giver for giver in [*can_give.tolist(), *spare] if giver != taker]
        for giver in offers[:givers]:
            yield taker, giver


def _rank_loads(share: NDArray[np.float64], table: NDArray[np.int32]) -> NDArray[np.float64]:
    loads: NDArray[np.float64] = np.where(table >= 0, share[table], 0.0).sum(axis=1)
    return loads
