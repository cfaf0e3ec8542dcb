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
    keep_all: bool,
) -> float:
    """Lower the largest rank load by changing replica counts, in place; return it.

    A taker gets one more replica from a donor: an expert with several whose remaining ones stay
    lightest. Takers are the experts of the fullest rank, then the others. Unless `keep_all`, a
    replica may also be given up, and an unused one taken. The layer is packed and balanced afresh
    and kept if it improved. Stops at `target`, when no exchange helps, or after `tries` packings.

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
        Packings in all, and donors considered for each taker.
    keep_all
        Whether the number of replicas stays as it is.
    """
    num_ranks, slots = table.shape
    most = count.sum()
    best: float = _max_load(load / count, table)
    improved = True
    while improved and tries > 0 and best > target:
        improved = False
        takers = _takers(load / count, count, table)
        givers = _donors(load, count, best)
        for position in range(takers.size + 1):
            # After the experts of the fullest rank, nobody: the donor's replica is given up.
            taker = takers[position] if position < takers.size else -1
            if taker < 0 and keep_all:
                continue
            tried = 0
            for choice in range(givers.size + 1):
                donor = givers[choice] if choice < givers.size else -1
                if donor == taker or (donor < 0 and count.sum() >= most):
                    continue
                if tried == donors or tries == 0:
                    break
                tried += 1
                tries -= 1
                _give(count, taker, donor)
                share = load / count
                other = pack_layer(share, count, num_ranks, slots)
                value = balance_layer(share, other, target)
                if value < best * (1.0 - GAIN):
                    best = value
                    table[:, :] = other
                    improved = True
                    break
                _give(count, donor, taker)
            if improved:
                break
    return best


@njit(cache=True, nogil=True)
def _give(count: NDArray[np.int64], taker: int, donor: int) -> None:
    if taker >= 0:
        count[taker] += 1
    if donor >= 0:
        count[donor] -= 1


@njit(cache=True, nogil=True)
def _takers(
    share: NDArray[np.float64], count: NDArray[np.int64], table: NDArray[np.int32]
) -> NDArray[np.int64]:
    """Return experts that can take a replica: of the fullest rank first, then the heaviest."""
    key = share / (share.max() + 1.0)  # below 1
    for expert in table[np.argmax(_rank_loads(share, table))]:
        if expert >= 0:
            key[expert] += 1.0
    order = np.argsort(-key, kind="mergesort")
    return order[count[order] < table.shape[0]]


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
def exchange_layers(
    load: NDArray[np.float64],
    count: NDArray[np.int64],
    table: NDArray[np.int32],
    target: NDArray[np.float64],
    tries: int,
    donors: int,
    keep_all: bool,
) -> None:
    """Run `exchange_layer` on each row, in place."""
    for layer in range(load.shape[0]):
        exchange_layer(
            load[layer], count[layer], table[layer], target[layer], tries, donors, keep_all
        )
