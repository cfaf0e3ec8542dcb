# mypy: disallow-untyped-decorators=False
"""Compiled: where moved replicas come from, and what that puts on the links."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numba import njit

if TYPE_CHECKING:
    from numpy.typing import NDArray


@njit(cache=True, nogil=True, error_model="numpy")
def fetch_layers(
    old: NDArray[np.int32],
    new: NDArray[np.int32],
    distance: NDArray[np.float64],
    route_start: NDArray[np.int64],
    route_links: NDArray[np.int64],
    moved: NDArray[np.int64],
    crossings: NDArray[np.int64],
    orders: NDArray[np.int64],
) -> int:
    """Count replicas on ranks that did not hold them, and the links their copies cross.

    Every copy comes from the nearest rank that held the expert; of equally near ones from the one
    that has sent least so far.

    Parameters
    ----------
    old, new
        (layers, ranks, slots) experts, −1 empty; the number of slots may differ.
    distance
        (ranks, ranks) what makes a rank near.
    route_start, route_links
        The topology's routes.
    moved
        (layers,) overwritten.
    crossings
        (layers, links) copies over each link; overwritten.
    orders
        (most copies, 4) layer, expert, from, to; filled as far as it goes. From −1: nobody had it.

    Returns
    -------
    Copies in all.
    """
    layers, ranks, width = new.shape
    experts = 0
    for layer in range(layers):
        for r in range(ranks):
            for w in range(old.shape[2]):
                experts = max(experts, old[layer, r, w] + 1)
            for w in range(width):
                experts = max(experts, new[layer, r, w] + 1)
    held = np.zeros((experts, ranks), np.int64)  # layer + 1 in which a rank held the expert
    sent = np.zeros(ranks, np.int64)
    total = 0
    for layer in range(layers):
        moved[layer] = 0
        for link in range(crossings.shape[1]):
            crossings[layer, link] = 0
        for r in range(ranks):
            for w in range(old.shape[2]):
                if old[layer, r, w] >= 0:
                    held[old[layer, r, w], r] = layer + 1
        for r in range(ranks):
            for w in range(width):
                e = new[layer, r, w]
                if e < 0 or held[e, r] == layer + 1:
                    continue
                again = False
                for before in range(w):
                    again = again or new[layer, r, before] == e
                if again:
                    continue
                best = -1
                for h in range(ranks):
                    if held[e, h] != layer + 1:
                        continue
                    if (
                        best < 0
                        or distance[h, r] < distance[best, r]
                        or (distance[h, r] == distance[best, r] and sent[h] < sent[best])
                    ):
                        best = h
                moved[layer] += 1
                if total < orders.shape[0]:
                    orders[total, 0], orders[total, 1] = layer, e
                    orders[total, 2], orders[total, 3] = best, r
                total += 1
                if best >= 0:
                    sent[best] += 1
                    pair = best * ranks + r
                    for i in range(route_start[pair], route_start[pair + 1]):
                        crossings[layer, route_links[i]] += 1
    return total
