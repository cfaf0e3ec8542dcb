"""How use changes: between phases, domains and windows; and what a placement keeps of its worth."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from moeplace.traces.stats import spearman

if TYPE_CHECKING:
    from numpy.typing import NDArray

TOPS = (5, 10, 20)


def top_overlap(
    first: NDArray[np.float64], second: NDArray[np.float64], top: int
) -> NDArray[np.float64]:
    """Return (layers,) the share of the `top` most used experts that two loads have in common.

    Parameters
    ----------
    first, second
        (layers, experts) loads.
    top
        How many experts; at most all.
    """
    size = min(top, first.shape[1])
    ours, theirs = (np.argsort(-load, axis=1, kind="stable")[:, :size] for load in (first, second))
    shared = [np.intersect1d(a, b).size / size for a, b in zip(ours, theirs, strict=True)]
    return np.array(shared)


def rank_correlation(
    first: NDArray[np.float64], second: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return (layers,) Spearman's correlation of two loads (or flattened tables)."""
    rows = [spearman(a.ravel(), b.ravel()) for a, b in zip(first, second, strict=True)]
    return np.array(rows)


def total_variation(first: NDArray[np.float64], second: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return (layers,) the part of the load that would have to move for one to be the other."""
    distance: NDArray[np.float64] = 0.5 * np.abs(shares(first) - shares(second)).sum(axis=-1)
    return distance


def jensen_shannon(first: NDArray[np.float64], second: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return (layers,) the Jensen–Shannon divergence of two loads in bits: 0 equal, 1 disjoint."""
    p, q = shares(first), shares(second)
    middle = (p + q) / 2
    total: NDArray[np.float64] = (_relative(p, middle) + _relative(q, middle)) / 2
    return total


def transfer_matrix(loads: NDArray[np.float64], ranks: int) -> NDArray[np.float64]:
    """Return how even a placement made for one load is under another.

    The placement is LPT with as many experts on each rank: experts by falling load, each to the
    least loaded rank with room (Graham, SIAM J. Appl. Math. 17, 1969, with a bound on the count).

    Parameters
    ----------
    loads
        (settings, layers, experts) loads.
    ranks
        Ranks; must divide the experts.

    Returns
    -------
    ndarray
        (settings + 1, settings) max / mean rank load, mean over layers with load: row a is made for
        setting a and measured in each; the last row is experts in order.
    """
    settings, layers, experts = loads.shape
    maps = [deal_evenly(load, ranks) for load in loads]
    maps.append(np.tile(np.arange(experts) // (experts // ranks), (layers, 1)))
    table = np.zeros((len(maps), settings))
    for a, rank_of_expert in enumerate(maps):
        for b in range(settings):
            table[a, b] = np.mean(rank_imbalance(loads[b], rank_of_expert, ranks))
    return table


def deal_evenly(load: NDArray[np.float64], ranks: int) -> NDArray[np.int64]:
    """Return (layers, experts) ranks by LPT with as many experts on each rank.

    Parameters
    ----------
    load
        (layers, experts) loads.
    ranks
        Ranks; must divide the experts.
    """
    layers, experts = load.shape
    room = experts // ranks
    rank_of_expert = np.zeros((layers, experts), dtype=np.int64)
    for layer in range(layers):
        filled, weight = np.zeros(ranks, dtype=np.int64), np.zeros(ranks)
        for expert in np.argsort(-load[layer], kind="stable"):
            rank = int(np.where(filled < room, weight, np.inf).argmin())
            rank_of_expert[layer, expert] = rank
            filled[rank] += 1
            weight[rank] += load[layer, expert]
    return rank_of_expert


def rank_imbalance(
    load: NDArray[np.float64], rank_of_expert: NDArray[np.int64], ranks: int
) -> NDArray[np.float64]:
    """Return max / mean rank load of the layers that have any load."""
    found = []
    for row, where in zip(load, rank_of_expert, strict=True):
        if row.any():
            by_rank = np.bincount(where, row, minlength=ranks)
            found.append(by_rank.max() / by_rank.mean())
    return np.array(found)


def shares(load: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return loads as shares of their layer."""
    part: NDArray[np.float64] = load / np.maximum(load.sum(axis=-1, keepdims=True), 1e-300)
    return part


def _relative(p: NDArray[np.float64], q: NDArray[np.float64]) -> NDArray[np.float64]:
    ratio = np.where(p > 0, p / np.where(q > 0, q, 1.0), 1.0)
    total: NDArray[np.float64] = np.sum(p * np.log2(ratio), axis=-1)
    return total
