"""Compiled search on λ itself: the ranks that every token set touches are counted.

Beside the counts, every vertex keeps what leaving its rank saves and what entering any other
costs. A swap is judged from these four numbers: they are exact up to the sets that hold both
vertices, which only make it dearer, so that most proposals are refused without a look at a set.
Complexity: O(1) for a refused swap, O(sets of the two vertices · (1 + changed ranks · set size))
for one that is made.
"""
# mypy: disallow-untyped-decorators=False

from __future__ import annotations

from typing import TYPE_CHECKING

from numba import njit

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@njit(cache=True, nogil=True)
def count_ranks(
    net_start: NDArray[np.int64],
    pin: NDArray[np.int32],
    net_weight: NDArray[np.int64],
    part: NDArray[np.int32],
    count: NDArray[np.uint16],
    enter: NDArray[np.int64],
    leave: NDArray[np.int64],
) -> int:
    """Fill the state of a partition and return its Σ w · λ.

    Parameters
    ----------
    net_start, pin, net_weight
        The nets, see :class:`~moeplace.formulations.partition.hypergraph.Hypergraph`.
    part
        (vertices,) rank of each vertex.
    count
        (nets, ranks) zeros, filled with the pins of each net on each rank.
    enter
        (vertices, ranks) zeros, filled with the weight of the vertex's nets that the rank has no
        pin of.
    leave
        (vertices,) zeros, filled with the weight of the nets whose only pin on its rank the vertex
        is.
    """
    ranks = count.shape[1]
    value = 0
    for t in range(net_weight.size):
        w = net_weight[t]
        for i in range(net_start[t], net_start[t + 1]):
            count[t, part[pin[i]]] += 1
        for r in range(ranks):
            if count[t, r] > 0:
                value += w
            else:
                for i in range(net_start[t], net_start[t + 1]):
                    enter[pin[i], r] += w
        for i in range(net_start[t], net_start[t + 1]):
            if count[t, part[pin[i]]] == 1:
                leave[pin[i]] += w
    return value


@njit(cache=True, nogil=True)
def move(
    v: int,
    b: int,
    net_start: NDArray[np.int64],
    pin: NDArray[np.int32],
    net_weight: NDArray[np.int64],
    vertex_start: NDArray[np.int64],
    net: NDArray[np.int32],
    part: NDArray[np.int32],
    count: NDArray[np.uint16],
    enter: NDArray[np.int64],
    leave: NDArray[np.int64],
) -> int:
    """Move vertex v to rank b, keep the state exact, return what Σ w · λ changes by."""
    a = part[v]
    change: int = enter[v, b] - leave[v]
    part[v] = b
    alone = 0
    for j in range(vertex_start[v], vertex_start[v + 1]):
        t = net[j]
        w = net_weight[t]
        first, last = net_start[t], net_start[t + 1]
        left = count[t, a] - 1
        count[t, a] = left
        if left == 0:
            for i in range(first, last):
                enter[pin[i], a] += w
        elif left == 1:
            for i in range(first, last):
                if part[pin[i]] == a:
                    leave[pin[i]] += w
                    break
        held = count[t, b]
        count[t, b] = held + 1
        if held == 0:
            alone += w
            for i in range(first, last):
                enter[pin[i], b] -= w
        elif held == 1:
            for i in range(first, last):
                if part[pin[i]] == b and pin[i] != v:
                    leave[pin[i]] -= w
                    break
    leave[v] = alone
    return change


@njit(cache=True, nogil=True)
def shared(
    e: int,
    f: int,
    net_start: NDArray[np.int64],
    pin: NDArray[np.int32],
    net_weight: NDArray[np.int64],
    vertex_start: NDArray[np.int64],
    net: NDArray[np.int32],
    part: NDArray[np.int32],
    count: NDArray[np.uint16],
) -> int:
    """Return what a swap of e and f costs above the sum of the two moves: nets that hold both."""
    a, b = part[e], part[f]
    if vertex_start[e + 1] - vertex_start[e] > vertex_start[f + 1] - vertex_start[f]:
        e, f = f, e
        a, b = b, a
    more: int = 0
    for j in range(vertex_start[e], vertex_start[e + 1]):
        t = net[j]
        times = 0
        if count[t, a] == 1:
            times += 1
        if count[t, b] == 1:
            times += 1
        if times:
            for i in range(net_start[t], net_start[t + 1]):
                if pin[i] == f:
                    more += times * net_weight[t]
                    break
    return more
