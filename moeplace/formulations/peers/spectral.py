"""Spectral clustering of a weighted graph, small and deterministic."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

ROUNDS = 50  # of k-means; it settles in far fewer


def spectral_clusters(affinity: NDArray[np.float64], num_clusters: int) -> NDArray[np.int64]:
    """Return (nodes,) clusters of a graph, of any sizes, some possibly empty.

    Rows of the leading eigenvectors of D^−½ A D^−½, brought to length one, are clustered by
    k-means from centers that are far apart (Ng, Jordan and Weiss, NIPS 2001).

    Parameters
    ----------
    affinity
        (nodes, nodes) symmetric, ≥ 0.
    num_clusters
        How many.
    """
    from scipy.linalg import eigh

    nodes = affinity.shape[0]
    if num_clusters >= nodes:
        return np.arange(nodes)
    if num_clusters == 1:
        return np.zeros(nodes, np.int64)
    degree = affinity.sum(axis=1)
    scale = np.divide(1.0, np.sqrt(degree), out=np.zeros_like(degree), where=degree > 0)
    normal = scale[:, None] * affinity * scale[None, :]
    # The default driver waits on its threads where the cores are busy: ten times slower.
    _, vectors = eigh(normal, subset_by_index=(nodes - num_clusters, nodes - 1), driver="evx")
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    points = np.divide(vectors, length, out=np.zeros_like(vectors), where=length > 0)
    return _k_means(points, num_clusters)


def _k_means(points: NDArray[np.float64], num_clusters: int) -> NDArray[np.int64]:
    """Return the cluster of each point; centers start at points far from one another."""
    center = points[[0]]
    for _ in range(1, num_clusters):
        center = np.vstack([center, points[_squared(points, center).min(axis=1).argmax()]])
    cluster = np.full(points.shape[0], -1, np.int64)
    for _ in range(ROUNDS):
        nearest = _squared(points, center).argmin(axis=1)
        if (nearest == cluster).all():
            break
        cluster = nearest
        size = np.bincount(cluster, minlength=num_clusters)
        total = np.zeros_like(center)
        np.add.at(total, cluster, points)
        center = np.where(size[:, None] > 0, total / np.maximum(size, 1)[:, None], center)
    return cluster


def _squared(points: NDArray[np.float64], center: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return (points, centers) squared distances."""
    square: NDArray[np.float64] = (
        (points**2).sum(axis=1)[:, None] - 2 * points @ center.T + (center**2).sum(axis=1)[None, :]
    )
    return square
