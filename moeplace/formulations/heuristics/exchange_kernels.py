# mypy: disallow-untyped-decorators=False
"""Compiled search over replica counts: one expert gives a replica to another."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numba import njit

from moeplace.formulations.heuristics.packing_kernels import GAIN, balance_layer, pack_layer

if TYPE_CHECKING:
    from numpy.typing import NDArray


@njit(cache=True, nogil=True)
def exchange_layer(
    load: NDArray[np.float64],
    count: NDArray[np.int64],
    table: NDArray[np.int32],
    target: float,
    tries: int,
    donors: int,
) -> float:
    """Lower the largest rank load by changing replica counts, in place; return it.

    An expert of the fullest rank gets one more replica from a donor: an expert with several whose
    remaining ones stay lightest. The layer is packed and balanced afresh and kept if it
    improved. Stops at `target`, when no exchange helps, or after `tries` packings.

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
    tries, donors
        Packings in all, and donors considered for each expert of the fullest rank.
    """
    num_ranks, slots = table.shape
    best: float = _max_load(load / count, table)
    improved = True
    while improved and tries > 0 and best > target:
        improved = False
        fullest = _fullest(load / count, table)
        donor_order = _donors(load, count, best)
        for slot in range(slots):
            taker = table[fullest, slot]
            if taker < 0 or count[taker] >= num_ranks:
                continue
            tried = 0
            for donor in donor_order:
                if donor == taker:
                    continue
                if tried == donors or tries == 0:
                    break
                tried += 1
                tries -= 1
                count[taker] += 1
                count[donor] -= 1
                share = load / count
                other = pack_layer(share, count, num_ranks, slots)
                value = balance_layer(share, other, target)
                if value < best * (1.0 - GAIN):
                    best = value
                    table[:, :] = other
                    improved = True
                    break
                count[taker] -= 1
                count[donor] += 1
            if improved:
                break
    return best


@njit(cache=True, nogil=True)
def _donors(load: NDArray[np.float64], count: NDArray[np.int64], limit: float) -> NDArray[np.int64]:
    """Return experts that can give a replica away, those whose replicas stay lightest first."""
    after = np.full(load.size, np.inf)
    for expert in range(load.size):
        if count[expert] > 1 and load[expert] / (count[expert] - 1) < limit:
            after[expert] = load[expert] / (count[expert] - 1)
    order = np.argsort(after, kind="mergesort")
    return order[: np.sum(after < np.inf)]


@njit(cache=True, nogil=True)
def _rank_loads(share: NDArray[np.float64], table: NDArray[np.int32]) -> NDArray[np.float64]:
    loads = np.zeros(table.shape[0])
    for rank in range(table.shape[0]):
        for expert in table[rank]:
            if expert >= 0:
                loads[rank] += share[expert]
    return loads


@njit(cache=True, nogil=True)
def _max_load(share: NDArray[np.float64], table: NDArray[np.int32]) -> float:
    return float(_rank_loads(share, table).max())


@njit(cache=True, nogil=True)
def _fullest(share: NDArray[np.float64], table: NDArray[np.int32]) -> int:
    return int(np.argmax(_rank_loads(share, table)))


@njit(cache=True, nogil=True)
def exchange_layers(
    load: NDArray[np.float64],
    count: NDArray[np.int64],
    table: NDArray[np.int32],
    target: NDArray[np.float64],
    tries: int,
    donors: int,
) -> None:
    """Run `exchange_layer` on each row, in place."""
    for layer in range(load.shape[0]):
        exchange_layer(load[layer], count[layer], table[layer], target[layer], tries, donors)
