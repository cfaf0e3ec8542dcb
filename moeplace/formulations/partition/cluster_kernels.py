"""Compiled coarsening: vertices that share heavy nets are joined."""
# mypy: disallow-untyped-decorators=False

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numba import njit

if TYPE_CHECKING:
    from numpy.typing import NDArray

LARGE_NET = 400  # longer nets say little about which two vertices belong together


@njit(cache=True, nogil=True)
def cluster(
    net_start: NDArray[np.int64],
    pin: NDArray[np.int32],
    net_weight: NDArray[np.int64],
    vertex_start: NDArray[np.int64],
    net: NDArray[np.int32],
    size: NDArray[np.int64],
    load: NDArray[np.int64],
    block: NDArray[np.int32],
    max_size: int,
    max_load: int,
    fewest: int,
    order: NDArray[np.int64],
) -> tuple[NDArray[np.int32], int]:
    """Join every vertex, in `order`, to the neighbor or group it shares most net weight with.

    Parameters
    ----------
    block
        (vertices,) only vertices of equal block are joined.
    max_size, max_load
        Largest group.
    fewest
        Stop at this many groups.

    Returns
    -------
    (vertices,) group of each vertex, number of groups
    """
    vertices = size.size
    head = np.empty(vertices, np.int32)
    joined = np.zeros(vertices, np.bool_)
    group_size = np.empty(vertices, np.int64)
    group_load = np.empty(vertices, np.int64)
    for v in range(vertices):
        head[v] = v
        group_size[v] = size[v]
        group_load[v] = load[v]
    rating = np.zeros(vertices)
    seen = np.empty(vertices, np.int32)
    groups = vertices
    for v in order:
        if groups <= fewest:
            break
        if joined[v]:
            continue
        number = 0
        for j in range(vertex_start[v], vertex_start[v + 1]):
            t = net[j]
            first, last = net_start[t], net_start[t + 1]
            if last - first > LARGE_NET:
                continue
            score = net_weight[t] / (last - first - 1)
            for i in range(first, last):
                u = pin[i]
                if u != v and block[u] == block[v]:
                    c = head[u]
                    if rating[c] == 0.0:
                        seen[number] = c
                        number += 1
                    rating[c] += score
        chosen = -1
        for i in range(number):
            c = seen[i]
            fits = group_size[c] + size[v] <= max_size and group_load[c] + load[v] <= max_load
            if fits and c != v:
                better = chosen < 0 or rating[c] > rating[chosen]
                if not better and rating[c] == rating[chosen]:
                    better = group_size[c] < group_size[chosen]
                if better:
                    chosen = c
        for i in range(number):
            rating[seen[i]] = 0.0
        if chosen >= 0:
            head[v] = chosen
            group_size[chosen] += size[v]
            group_load[chosen] += load[v]
            joined[v] = True
            joined[chosen] = True
            groups -= 1
    number_of = np.zeros(vertices, np.int32)
    group = np.empty(vertices, np.int32)
    groups = 0
    for v in range(vertices):
        c = head[v]
        if number_of[c] == 0:
            groups += 1
            number_of[c] = groups
        group[v] = number_of[c] - 1
    return group, groups
