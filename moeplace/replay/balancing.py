"""Balancing on the first half of a trace, reported on the second (arXiv 2303.06182 §VII).

A batch's load of a rank is the share of the batch's (token, expert) pairs that its experts serve.
``Max Load`` is the largest share over all batches (who runs out of memory), ``Avg Max Load`` the
mean over batches of the largest share (how long a batch takes).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from moeplace.errors import InputError, unknown_name
from moeplace.formulations.peers.huang import CORRELATION_WEIGHT, greedy_ranks

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from moeplace.replay.buffering.requests import Requests

BALANCES = {
    "contiguous": "Experts in order",
    "greedy": "Heaviest first, to the lightest rank with room",
    "anti-correlation": "As greedy, plus half the correlation with the experts there",
    "scaled": "As anti-correlation, correlation times both spreads: covariance, in units of load",
    "batch-max": "From greedy, exchanges that lower the mean over batches of the fullest rank",
}
ROUNDS = 20  # of exchanges


@dataclass(frozen=True, eq=False)
class BalanceReport:
    """How full the fullest rank is.

    Attributes
    ----------
    layer_max, layer_mean_max
        (layers,) Max Load and Avg Max Load of every layer.
    """

    layer_max: NDArray[np.float64]
    layer_mean_max: NDArray[np.float64]

    @property
    def max_load(self) -> float:
        """Max Load, mean over layers."""
        return float(self.layer_max.mean())

    @property
    def avg_max_load(self) -> float:
        """Avg Max Load, mean over layers."""
        return float(self.layer_mean_max.mean())


def batch_shares(requests: Requests) -> NDArray[np.float64]:
    """Return (batches, layers, experts) shares of each batch's pairs; 0 in an empty batch."""
    tokens = requests.tokens.astype(np.float64)
    total = tokens.sum(axis=2, keepdims=True)
    shares: NDArray[np.float64] = np.divide(
        tokens, total, out=np.zeros_like(tokens), where=total > 0
    )
    return shares


def balanced_ranks(requests: Requests, num_ranks: int, method: str) -> NDArray[np.int64]:
    """Return (layers, experts) ranks fitted on these batches, ⌈E/R⌉ experts at most on each.

    Parameters
    ----------
    requests
        The batches to fit on.
    num_ranks
        R.
    method
        A name of `BALANCES`.

    Raises
    ------
    InputError
        If there is no such method or there are more ranks than experts.
    """
    if method not in BALANCES:
        raise unknown_name("balance", method, BALANCES, "`moeplace buffer --help`")
    experts = requests.num_experts
    if not 1 <= num_ranks <= experts:
        raise InputError(f"{num_ranks} ranks for {experts} experts; give 1 to {experts}")
    if method == "contiguous":
        sizes = experts // num_ranks + (np.arange(num_ranks) < experts % num_ranks)
        return np.tile(np.repeat(np.arange(num_ranks), sizes), (requests.num_layers, 1))
    shares = batch_shares(requests)
    rows = [_fit(shares[:, layer], num_ranks, method) for layer in range(requests.num_layers)]
    return np.stack(rows)


def balance_report(
    requests: Requests, rank_of_expert: NDArray[np.int64], num_ranks: int
) -> BalanceReport:
    """Return Max Load and Avg Max Load of a placement under some batches."""
    shares = batch_shares(requests)
    fullest = np.stack(
        [
            _rank_shares(shares[:, layer], rank_of_expert[layer], num_ranks).max(axis=1)
            for layer in range(requests.num_layers)
        ]
    )
    return BalanceReport(fullest.max(axis=1), fullest.mean(axis=1))


def pearson(shares: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return (experts, experts) correlation over the rows; 0 where an expert never varies."""
    centered = shares - shares.mean(axis=0)
    spread = np.sqrt((centered**2).sum(axis=0))
    scale = spread[:, None] * spread[None, :]
    found: NDArray[np.float64] = np.divide(
        centered.T @ centered, scale, out=np.zeros_like(scale), where=scale > 1e-300
    )
    return found


def _fit(shares: NDArray[np.float64], num_ranks: int, method: str) -> NDArray[np.int64]:
    mean = shares.mean(axis=0)
    if method == "anti-correlation":
        return greedy_ranks(mean, num_ranks, CORRELATION_WEIGHT * pearson(shares))
    if method == "scaled":
        spread = shares.std(axis=0)
        return greedy_ranks(mean, num_ranks, pearson(shares) * np.sqrt(np.outer(spread, spread)))
    ranks = greedy_ranks(mean, num_ranks)
    return ranks if method == "greedy" else _exchange(shares, ranks, num_ranks)


def _rank_shares(
    shares: NDArray[np.float64], ranks: NDArray[np.int64], num_ranks: int
) -> NDArray[np.float64]:
    held: NDArray[np.float64] = shares @ (ranks[:, None] == np.arange(num_ranks))
    return held


def _exchange(
    shares: NDArray[np.float64], ranks: NDArray[np.int64], num_ranks: int
) -> NDArray[np.int64]:
    """Exchange pairs of experts while the mean over batches of the fullest rank falls."""
    ranks = ranks.copy()
    load = _rank_shares(shares, ranks, num_ranks)
    value = load.max(axis=1).mean()
    for _ in range(ROUNDS):
        improved = False
        for first in np.argsort(-shares.mean(axis=0), kind="stable"):
            others = np.flatnonzero(ranks != ranks[first])
            change = shares[:, others] - shares[:, [first]]  # (batches, others) what `first` gains
            ours, theirs = ranks[first], ranks[others]
            best, gain = -1, 1e-12
            for column, other in enumerate(others):
                trial = load.copy()
                trial[:, ours] += change[:, column]
                trial[:, theirs[column]] -= change[:, column]
                found = value - trial.max(axis=1).mean()
                if found > gain:
                    best, gain = int(other), found
            if best >= 0:
                ranks[first], ranks[best] = ranks[best], ranks[first]
                load = _rank_shares(shares, ranks, num_ranks)
                value = load.max(axis=1).mean()
                improved = True
        if not improved:
            break
    return ranks
