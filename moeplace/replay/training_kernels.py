# mypy: disallow-untyped-decorators=False
"""Compiled: synchronization of replicas."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numba import njit

if TYPE_CHECKING:
    from numpy.typing import NDArray


@njit(cache=True, nogil=True, error_model="numpy")
def ring_seconds(
    holders: NDArray[np.int64], size: int, slowest: NDArray[np.float64], nbytes: float
) -> float:
    """Return seconds of a ring all-reduce over ``holders[:size]``, 0 for a single one."""
    if size < 2:
        return 0.0
    worst = 0.0
    for i in range(size):
        worst = max(worst, slowest[holders[i], holders[(i + 1) % size]])
    return 2.0 * (size - 1) / size * nbytes * worst


@njit(cache=True, nogil=True, error_model="numpy")
def sync_layers(
    table: NDArray[np.int32],
    experts: int,
    slowest: NDArray[np.float64],
    nbytes: float,
    out: NDArray[np.float64],
) -> None:
    """Fill (layers,) the largest synchronization time of a rank.

    Parameters
    ----------
    table
        (layers, ranks, slots) experts, −1 empty; copies of an expert on one rank need no ring.
    experts
        E.
    slowest
        (ranks, ranks) seconds per byte.
    nbytes
        Bytes of an expert's gradients.
    out
        Overwritten.
    """
    layers, ranks, width = table.shape
    holders = np.empty((experts, ranks), np.int64)
    size = np.empty(experts, np.int64)
    busy = np.empty(ranks)
    for layer in range(layers):
        for e in range(experts):
            size[e] = 0
        for r in range(ranks):
            busy[r] = 0.0
            for w in range(width):
                e = table[layer, r, w]
                if e >= 0 and (size[e] == 0 or holders[e, size[e] - 1] != r):
                    holders[e, size[e]] = r
                    size[e] += 1
        largest = 0.0
        for e in range(experts):
            seconds = ring_seconds(holders[e], size[e], slowest, nbytes)
            for i in range(size[e]):
                busy[holders[e, i]] += seconds
                largest = max(largest, busy[holders[e, i]])
        out[layer] = largest
