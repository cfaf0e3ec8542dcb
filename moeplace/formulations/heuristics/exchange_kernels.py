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
    experts = load.size
    share = np.empty(experts)
    _shares(load, count, share)
    rank_load = np.empty(num_ranks)
    best: float = _rank_loads(share, table, rank_load)
    most = 0
    for expert in range(experts):
        most += count[expert]
    total = most
    order = np.arange(experts)
    takers = np.empty(experts, np.int64)
    givers = np.empty(experts, np.int64)
    key = np.empty(experts)
    other = np.empty((num_ranks, slots), np.int32)
    improved = True
    while improved and tries > 0 and best > target:
        improved = False
        num_takers = _takers(share, count, table, rank_load, key, takers)
        num_givers = _givers(load, count, best, key, givers)
        for position in range(num_takers + 1):
            # After all takers, nobody: the giver's replica is given up.
            taker = takers[position] if position < num_takers else -1
            if taker < 0 and keep_all:
                continue
            tried = 0
            for choice in range(num_givers + 1):
                giver = givers[choice] if choice < num_givers else -1
                if giver == taker or (giver < 0 and total >= most):
                    continue
                if tried == donors or tries == 0:
                    break
                tried += 1
                tries -= 1
                total += _give(count, taker, giver)
                _shares(load, count, share)
                pack_layer(share, count, order, other)
                value = balance_layer(share, other, target)
                if value < best * (1.0 - GAIN):
                    for rank in range(num_ranks):
                        for slot in range(slots):
                            table[rank, slot] = other[rank, slot]
                    best = _rank_loads(share, table, rank_load)
                    improved = True
                    break
                total += _give(count, giver, taker)
            if improved:
                break
        _shares(load, count, share)
    return best


@njit(cache=True, nogil=True)
def _shares(
    load: NDArray[np.float64], count: NDArray[np.int64], share: NDArray[np.float64]
) -> None:
    for expert in range(load.size):
        share[expert] = load[expert] / count[expert]


@njit(cache=True, nogil=True)
def _rank_loads(
    share: NDArray[np.float64], table: NDArray[np.int32], rank_load: NDArray[np.float64]
) -> float:
    """Fill in the load of every rank and return the largest."""
    largest = 0.0
    for rank in range(table.shape[0]):
        rank_load[rank] = 0.0
        for slot in range(table.shape[1]):
            if table[rank, slot] >= 0:
                rank_load[rank] += share[table[rank, slot]]
        largest = max(largest, rank_load[rank])
    return largest


@njit(cache=True, nogil=True)
def _give(count: NDArray[np.int64], taker: int, giver: int) -> int:
    """Move a replica, −1 being nobody; return by how many the total changes."""
    change = 0
    if taker >= 0:
        count[taker] += 1
        change += 1
    if giver >= 0:
        count[giver] -= 1
        change -= 1
    return change


@njit(cache=True, nogil=True)
def _takers(
    share: NDArray[np.float64],
    count: NDArray[np.int64],
    table: NDArray[np.int32],
    rank_load: NDArray[np.float64],
    key: NDArray[np.float64],
    takers: NDArray[np.int64],
) -> int:
    """List experts that can take a replica: of the fullest rank first, then the heaviest."""
    fullest, heaviest = 0, 0.0
    for rank in range(rank_load.size):
        if rank_load[rank] > rank_load[fullest]:
            fullest = rank
    for expert in range(share.size):
        heaviest = max(heaviest, share[expert])
    for expert in range(share.size):
        key[expert] = -share[expert]
    for slot in range(table.shape[1]):
        if table[fullest, slot] >= 0:
            key[table[fullest, slot]] -= heaviest
    number = 0
    for expert in range(share.size):
        if count[expert] < table.shape[0]:
            number = _insert(expert, key, takers, number)
    return number


@njit(cache=True, nogil=True)
def _givers(
    load: NDArray[np.float64],
    count: NDArray[np.int64],
    limit: float,
    key: NDArray[np.float64],
    givers: NDArray[np.int64],
) -> int:
    """List experts that can give a replica away, those whose replicas stay lightest first."""
    number = 0
    for expert in range(load.size):
        if count[expert] > 1:
            key[expert] = load[expert] / (count[expert] - 1)
            if key[expert] < limit:
                number = _insert(expert, key, givers, number)
    return number


@njit(cache=True, nogil=True)
def _insert(expert: int, key: NDArray[np.float64], listed: NDArray[np.int64], number: int) -> int:
    """Insert an expert into a list sorted by rising key; return the new length."""
    place = number
    while place > 0 and key[listed[place - 1]] > key[expert]:
        listed[place] = listed[place - 1]
        place -= 1
    listed[place] = expert
    return number + 1
