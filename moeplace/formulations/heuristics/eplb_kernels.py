# mypy: disallow-untyped-decorators=False
"""EPLB's global policy and its maps, compiled."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numba import njit

if TYPE_CHECKING:
    from numpy.typing import NDArray


@njit(cache=True, nogil=True)
def eplb_layer(weight: NDArray[np.float32], table: NDArray[np.int32]) -> None:
    """Fill (devices, slots) as :func:`~moeplace.formulations.heuristics.eplb.eplb_maps` would.

    Global policy, in float32 and with the same order of equal loads. Complexity: O(replicas² +
    redundant · experts).

    Parameters
    ----------
    weight
        (experts,) loads.
    table
        Overwritten; has a slot for every expert at least.
    """
    devices, slots = table.shape
    experts, replicas = weight.size, devices * slots
    count = np.ones(experts, np.int64)
    expert = np.empty(replicas, np.int64)
    share = weight.copy()
    for replica in range(replicas):
        chosen = replica
        if replica >= experts:
            chosen = 0
            for e in range(1, experts):
                if share[e] > share[chosen]:
                    chosen = e
            count[chosen] += 1
            share[chosen] = weight[chosen] / np.float32(count[chosen])
        expert[replica] = chosen
    for i in range(1, replicas):
        moving = expert[i]
        j = i
        while j > 0 and share[expert[j - 1]] < share[moving]:
            expert[j] = expert[j - 1]
            j -= 1
        expert[j] = moving
    load = np.zeros(devices, np.float32)
    used = np.zeros(devices, np.int64)
    for i in range(replicas):
        if slots == 1:
            table[i, 0] = expert[i]
            continue
        target = -1
        for device in range(devices):
            if used[device] < slots and (target < 0 or load[device] < load[target]):
                target = device
        table[target, used[target]] = expert[i]
        used[target] += 1
        load[target] += share[expert[i]]


@njit(cache=True, nogil=True)
def fullest(load: NDArray[np.float64], table: NDArray[np.int32]) -> float:
    """Return the largest load of a device, infinite if an expert lies on one twice.

    Parameters
    ----------
    load
        (experts,) loads, shared evenly.
    table
        (devices, slots) experts, all slots occupied.
    """
    devices, slots = table.shape
    count = np.zeros(load.size, np.int64)
    last = np.full(load.size, -1, np.int64)
    for device in range(devices):
        for slot in range(slots):
            expert = table[device, slot]
            if last[expert] == device:
                return float(np.inf)
            last[expert] = device
            count[expert] += 1
    largest = 0.0
    for device in range(devices):
        total = 0.0
        for slot in range(slots):
            total += load[table[device, slot]] / count[table[device, slot]]
        largest = max(largest, total)
    return largest


@njit(cache=True, nogil=True)
def list_slots(phy2log: NDArray[np.int64], log2phy: NDArray[np.int64]) -> None:
    """Write the slots of every expert in slot order; `log2phy` comes filled with −1.

    Parameters
    ----------
    phy2log
        (layers, slots) expert in each slot.
    log2phy
        (layers, experts, most replicas) slots of each expert.
    """
    known = np.empty(log2phy.shape[1], np.int64)
    for layer in range(phy2log.shape[0]):
        for expert in range(known.size):
            known[expert] = 0
        for slot in range(phy2log.shape[1]):
            expert = phy2log[layer, slot]
            log2phy[layer, expert, known[expert]] = slot
            known[expert] += 1
