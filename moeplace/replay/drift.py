"""Seeded loads that drift: for studies where no trace is long enough."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import NormalDist
from typing import TYPE_CHECKING

import numpy as np

from moeplace.errors import InputError
from moeplace.replay.windows import Window, Windows

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

CAP_ROUNDS = 64  # an expert cannot have more than every token; what is above goes to the others


@dataclass(frozen=True)
class Drift:
    """How generated loads look and change.

    The logarithm of every expert's popularity follows a stationary Ornstein-Uhlenbeck process of
    its own, sampled once a window: x ← ρ x + √(1 − ρ²) σ ε with ρ = exp(−1 / memory).

    Attributes
    ----------
    layers, experts, top_k
        Shape; no expert gets more than the share 1 / top_k.
    hot_share, hot_experts
        Share of the tokens that the `hot_experts` most popular experts of a layer get, on
        average. Gives σ: the Lorenz curve of a lognormal variable is L(q) = Φ(Φ⁻¹(q) − σ), so the
        share of the top fraction f is Φ(σ − Φ⁻¹(1 − f)).
    memory
        Windows after which the correlation of log popularity has fallen to 1/e.
    jump
        Chance, a window and layer, that two experts swap their popularity at once.
    tokens
        Tokens counted in a window, for sampling noise; 0 for none.
    """

    layers: int = 12
    experts: int = 64
    top_k: int = 2
    hot_share: float = 0.75
    hot_experts: int = 10
    memory: float = 50.0
    jump: float = 0.0
    tokens: int = 0

    @property
    def sigma(self) -> float:
        """Standard deviation of log popularity."""
        normal = NormalDist()
        fraction = self.hot_experts / self.experts
        return normal.inv_cdf(self.hot_share) + normal.inv_cdf(1 - fraction)


def drifting_windows(drift: Drift, windows: int, seed: int = 0) -> Windows:
    """Generate windows of drifting loads, one at a time.

    Raises
    ------
    InputError
        If a number is out of range.
    """
    _check(drift, windows)

    def make() -> Iterator[Window]:
        rng = np.random.default_rng(seed)
        sigma, keep = drift.sigma, float(np.exp(-1 / drift.memory))
        fresh = np.sqrt(1 - keep**2) * sigma
        x = sigma * rng.standard_normal((drift.layers, drift.experts))
        for _ in range(windows):
            yield Window(_observed(capped_shares(x, drift.top_k), drift.tokens, rng))
            x = keep * x + fresh * rng.standard_normal(x.shape)
            for layer in np.flatnonzero(rng.random(drift.layers) < drift.jump):
                one, other = rng.choice(drift.experts, 2, replace=False)
                x[layer, [one, other]] = x[layer, [other, one]]

    return Windows(
        name=f"drift, {drift.hot_experts} of {drift.experts} experts get {drift.hot_share:.0%}",
        kind="synthetic",
        num_layers=drift.layers,
        num_experts=drift.experts,
        count=windows,
        make=make,
        top_k=drift.top_k,
    )


def capped_shares(x: NDArray[np.float64], top_k: int) -> NDArray[np.float64]:
    """Return (layers, experts) shares in proportion to exp(x), none above 1 / top_k."""
    share: NDArray[np.float64] = np.exp(x - x.max(axis=1, keepdims=True))
    share /= share.sum(axis=1, keepdims=True)
    limit = 1.0 / top_k
    for _ in range(CAP_ROUNDS):
        over = share > limit * (1 + 1e-12)
        if not over.any():
            break
        share = np.where(over, limit, share)
        free = share < limit
        room = 1.0 - np.where(free, 0.0, share).sum(axis=1, keepdims=True)
        rest = np.where(free, share, 0.0).sum(axis=1, keepdims=True)
        share = np.where(free, share * room / np.maximum(rest, 1e-300), share)
    return share


def _observed(
    share: NDArray[np.float64], tokens: int, rng: np.random.Generator
) -> NDArray[np.float64]:
    return rng.multinomial(tokens, share).astype(np.float64) if tokens else share


def _check(drift: Drift, windows: int) -> None:
    if windows < 1 or drift.layers < 1 or not 1 <= drift.top_k <= drift.experts:
        raise InputError("a drift needs at least one window, one layer and top_k experts")
    if not 0 < drift.hot_experts < drift.experts or not 0 < drift.hot_share < 1:
        raise InputError("hot_experts lies between 0 and the experts, hot_share between 0 and 1")
    if drift.sigma <= 0:
        raise InputError(
            f"hot_share {drift.hot_share} is less than {drift.hot_experts} of {drift.experts} "
            "experts get when all are alike"
        )
    if not drift.memory > 0 or not 0 <= drift.jump <= 1 or drift.tokens < 0:
        raise InputError("memory must be above 0, jump a chance, tokens at least 0")
