"""Compiled renaming of ranks by the busiest link, for kernels that send to single ranks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numba import njit

if TYPE_CHECKING:
    from numpy.typing import NDArray


@njit(cache=True, nogil=True)
def _collective(
    flow: NDArray[np.float64],
    first: NDArray[np.int64],
    second: NDArray[np.int64],
    back: bool,
    route_start: NDArray[np.int64],
    route_links: NDArray[np.int64],
    seconds: NDArray[np.float64],
    latency: NDArray[np.float64],
    used: NDArray[np.float64],
) -> float:
    """Return seconds of the busiest link plus the longest route; flows go back if asked."""
    n = first.size
    used[:] = 0.0
    longest = 0.0
    for c in range(n):
        for d in range(n):
            amount = flow[c, d]
            a, b = first[c], second[d]
            if amount <= 0.0 or a == b:
                continue
            longest = max(longest, latency[a, b])
            pair = b * n + a if back else a * n + b
            for p in range(route_start[pair], route_start[pair + 1]):
                used[route_links[p]] += amount
    busiest = 0.0
    for link in range(used.size):
        busiest = max(busiest, used[link] * seconds[link])
    return busiest + longest


@njit(cache=True, nogil=True)
def rename_by_links(
    labels: NDArray[np.int64],
    dispatch: NDArray[np.float64],
    combine: NDArray[np.float64],
    route_start: NDArray[np.int64],
    route_links: NDArray[np.int64],
    seconds: NDArray[np.float64],
    latency: NDArray[np.float64],
    sweeps: int,
) -> None:
    """Exchange the ranks of two clusters of a layer while the collectives get faster, in place.

    A layer's dispatch depends on its labels and those before, its combine on its own. Complexity
    of a sweep: O(layers · ranks⁴ · links of a route).

    Parameters
    ----------
    labels
        (layers + 1, ranks); row 0 are the own ranks of tokens, which stay as they are.
    dispatch, combine
        (layers, clusters before, clusters) and (layers, clusters of anchors, clusters) copies.
    route_start, route_links
        Routes of the topology.
    seconds
        (2, links) of one copy on a link, out and back.
    latency
        (ranks, ranks) of a route.
    sweeps
        Most rounds over the layers.
    """
    layers, n = combine.shape[0], combine.shape[1]
    used = np.zeros(seconds.shape[1])
    for _ in range(sweeps):
        improved = False
        for layer in range(layers):
            here = labels[layer + 1]
            now = 0.0
            for x in range(n):
                for y in range(x, n):
                    if x == y and x > 0:
                        continue  # x == y == 0 prices the layer as it is
                    here[x], here[y] = here[y], here[x]
                    cost = _collective(
                        dispatch[layer], labels[layer], here, False,
                        route_start, route_links, seconds[0], latency, used,
                    )  # fmt: skip
                    cost += _collective(
                        combine[layer], here, here, True,
                        route_start, route_links, seconds[1], latency, used,
                    )  # fmt: skip
                    if layer + 1 < layers:
                        cost += _collective(
                            dispatch[layer + 1], here, labels[layer + 2], False,
                            route_start, route_links, seconds[0], latency, used,
                        )  # fmt: skip
                    if x == y:
                        now = cost
                    elif cost < now * (1.0 - 1e-12):
                        now = cost
                        improved = True
                    else:
                        here[x], here[y] = here[y], here[x]
        if not improved:
            return
