"""Compiled contraction: nets of groups, each group once, equal nets merged."""
# mypy: disallow-untyped-decorators=False

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numba import njit

if TYPE_CHECKING:
    from numpy.typing import NDArray

SHELL_GAPS = (701, 301, 132, 57, 23, 10, 4, 1)  # Ciura (2001)


@njit(cache=True, nogil=True)
def contract_nets(
    net_start: NDArray[np.int64],
    pin: NDArray[np.int32],
    net_weight: NDArray[np.int64],
    group: NDArray[np.int32],
    code: NDArray[np.uint64],
    order: NDArray[np.int64],
    start: NDArray[np.int64],
    pins: NDArray[np.int32],
    weight: NDArray[np.int64],
    slot: NDArray[np.int32],
) -> int:
    """Fill the nets of the groups, in the order given; return their number.

    Parameters
    ----------
    net_start, pin, net_weight
        The nets.
    group
        (vertices,) group of each vertex, −1 for those that are cut off.
    code
        (groups,) random numbers; equal sums are looked at pin by pin.
    order
        Permutation of the nets. Joining vertices breaks ties by it, so it should mean nothing.
    start, pins, weight
        Filled: (nets + 1,), (pins,), (nets,).
    slot
        (a power of two ≥ 2 · nets,) −1 everywhere; work space.
    """
    nets, at = 0, np.int64(0)
    last_net = np.full(code.size, -1, np.int32)
    keys = np.empty(net_weight.size, np.uint64)
    mask = np.uint64(slot.size - 1)
    start[0] = 0
    for t in order:
        first = at
        key = np.uint64(0)
        for i in range(net_start[t], net_start[t + 1]):
            g = group[pin[i]]
            if g >= 0 and last_net[g] != t:
                last_net[g] = t
                pins[at] = g
                at += 1
                key += code[g]
        size = at - first
        if size < 2:
            at = first
            continue
        for gap in SHELL_GAPS:
            for i in range(first + gap, at):
                g = pins[i]
                j = i
                while j >= first + gap and pins[j - gap] > g:
                    pins[j] = pins[j - gap]
                    j -= gap
                pins[j] = g
        place = key & mask
        while slot[place] >= 0:
            other = slot[place]
            if keys[other] == key and start[other + 1] - start[other] == size:
                same = True
                for i in range(size):
                    if pins[start[other] + i] != pins[first + i]:
                        same = False
                        break
                if same:
                    break
            place = (place + np.uint64(1)) & mask
        if slot[place] >= 0:
            weight[slot[place]] += net_weight[t]
            at = first
        else:
            slot[place] = nets
            keys[nets] = key
            weight[nets] = net_weight[t]
            nets += 1
            start[nets] = at
    return nets


@njit(cache=True, nogil=True)
def nets_of_vertices(
    start: NDArray[np.int64],
    pins: NDArray[np.int32],
    vertex_start: NDArray[np.int64],
    net: NDArray[np.int32],
) -> None:
    """Fill the nets of every vertex, ascending.

    Parameters
    ----------
    start, pins
        The nets.
    vertex_start
        (vertices + 1,) zeros, filled.
    net
        (pins,) filled.
    """
    for i in range(start[-1]):
        vertex_start[pins[i] + 1] += 1
    for v in range(vertex_start.size - 1):
        vertex_start[v + 1] += vertex_start[v]
    filled = vertex_start[:-1].copy()
    for t in range(start.size - 1):
        for i in range(start[t], start[t + 1]):
            v = pins[i]
            net[filled[v]] = t
            filled[v] += 1
