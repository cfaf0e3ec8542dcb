"""Mappings by linear assignment: exact where only staying counts, layer by layer elsewhere."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from moeplace.formulations.chain.instance import ChainInstance

SWEEPS = 50
GAIN = 1e-12  # relative; less is rounding


def stay_labels(instance: ChainInstance) -> NDArray[np.int64]:
    """Return the best (layers, n) ranks where the distance is 0/1 (``instance.uniform``).

    Only which clusters of neighboring layers share a rank counts, and a layer's ranks can be named
    after those of the layer before whatever these are: the pairs decouple. For ``sum`` the most
    flow stays (one linear assignment a pair). For ``max`` the flows above the result must all stay,
    so no two of them share a row or column: the least such value is the largest second-largest
    entry of any row or column, and the flows above it form a partial matching.
    """
    from scipy.optimize import linear_sum_assignment

    n = instance.num_ranks
    labels = np.empty((instance.num_layers, n), np.int64)
    labels[0] = np.arange(n)
    for pair, flow in enumerate(instance.flow):
        gain = flow
        if instance.combine == "max" and n > 1:
            second = max(np.sort(flow, axis=1)[:, -2].max(), np.sort(flow, axis=0)[-2].max())
            # one flow above the threshold outweighs all that are not
            gain = flow + np.where(flow > second, 1.0 + float(flow.sum()), 0.0)
        first, after = linear_sum_assignment(gain, maximize=True)
        labels[pair + 1, after] = labels[pair, first]
    return labels


def alternating(
    instance: ChainInstance, rng: np.random.Generator, starts: int = 4
) -> NDArray[np.int64]:
    """Return (layers, n) good ranks of the clusters, from several starts.

    For ``sum`` a layer whose neighbors are fixed is a linear assignment: sweeps there and back
    solve one after the other until none improves (block coordinate descent). For ``max``, and
    after it where sizes bind, ranks are exchanged in pairs while that helps. Starts: the solution
    for 0/1 distances, every layer alike, random.
    """
    n, layers = instance.num_ranks, instance.num_layers
    identity = np.tile(np.arange(n, dtype=np.int64), (layers, 1))
    begin = [stay_labels(instance), identity]
    begin += [rng.permuted(identity, axis=1) for _ in range(max(0, starts - 2))]
    found: tuple[float, NDArray[np.int64]] | None = None
    for labels in begin:
        if instance.combine == "sum" and not instance.sizes_bind:
            _assign_layers(instance, labels)
        if not instance.allowed(labels):
            continue
        if instance.combine == "max" or instance.sizes_bind:
            _exchange(instance, labels)
        cost = instance.cost(labels)
        if found is None or cost < found[0]:
            found = cost, labels
    if found is None:
        return identity
    return found[1]


def _assign_layers(instance: ChainInstance, labels: NDArray[np.int64]) -> None:
    from scipy.optimize import linear_sum_assignment

    flow, distance, last = instance.flow, instance.distance, instance.num_layers - 1
    cost = instance.cost(labels)
    for _ in range(SWEEPS):
        for layer in (*range(last + 1), *range(last - 1, 0, -1)):
            price = np.zeros_like(distance)  # (cluster, rank)
            if layer > 0:
                price += flow[layer - 1].T @ distance[labels[layer - 1]]
            if layer < last:
                price += flow[layer] @ distance[:, labels[layer + 1]].T
            labels[layer] = linear_sum_assignment(price)[1]
        after = instance.cost(labels)
        if after >= cost * (1 - GAIN):
            return
        cost = after


def _exchange(instance: ChainInstance, labels: NDArray[np.int64]) -> None:
    n, last = instance.num_ranks, instance.num_layers - 1

    def around(layer: int) -> float:
        pairs = [p for p in (layer - 1, layer) if 0 <= p < last]
        return sum(instance.pair_cost(p, labels[p], labels[p + 1]) for p in pairs)

    for _ in range(SWEEPS):
        improved = False
        for layer in range(last + 1):
            now = around(layer)
            for a in range(n):
                for b in range(a + 1, n):
                    labels[layer, [a, b]] = labels[layer, [b, a]]
                    after = around(layer)
                    if after < now * (1 - GAIN) and instance.allowed(labels):
                        now, improved = after, True
                    else:
                        labels[layer, [a, b]] = labels[layer, [b, a]]
        if not improved:
            return
