"""The mapping problem along a chain of layers, its cost, and a bound that needs no search.

In every layer n clusters of experts go to n ranks, one each. Between a layer and the next, cluster
c sends flow[c, c'] to cluster c'; over ranks g and g' it pays distance[g, g'] for each unit. The
cost of a pair of layers is the sum over its flows (ExFlow, copies, hops), or the largest single one
(MoETuner's text: "maximum communication cost across all GPU pairs"); pairs of layers add up.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from moeplace.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

Combine = Literal["sum", "max"]
SAME = 1e-12  # distances that differ by less, relative to the largest, are equal


@dataclass(frozen=True, eq=False)
class ChainInstance:
    """Clusters to ranks in every layer, flows between neighboring layers.

    Attributes
    ----------
    flow
        (layers − 1, n, n) ≥ 0, from cluster c of a layer to cluster c' of the next.
    distance
        (n, n) ≥ 0, price of a unit from rank g to rank g'.
    combine
        ``sum`` of a pair's flows × distances, or the largest, ``max``.
    sizes
        (layers, n) experts of each cluster, if every rank must end up with the same number over
        all layers; None for no such rule.
    """

    flow: NDArray[np.float64]
    distance: NDArray[np.float64]
    combine: Combine = "sum"
    sizes: NDArray[np.int64] | None = None

    def __post_init__(self) -> None:
        flow = np.array(self.flow, np.float64)
        distance = np.array(self.distance, np.float64)
        n = distance.shape[0] if distance.ndim == 2 else 0
        if n < 1 or distance.shape != (n, n) or flow.ndim != 3 or flow.shape[1:] != (n, n):
            raise InputError(
                f"chain: flow {flow.shape} and distance {distance.shape} do not fit; "
                "(layers − 1, n, n) and (n, n) expected"
            )
        for name, array in (("flow", flow), ("distance", distance)):
            if array.size and not (np.isfinite(array).all() and array.min() >= 0):
                raise InputError(f"chain: {name} must be finite and ≥ 0")
        if self.combine not in ("sum", "max"):
            raise InputError(f"chain: unknown combine {self.combine!r}; use sum or max")
        if self.sizes is not None:
            sizes = np.array(self.sizes, np.int64)
            if sizes.shape != (flow.shape[0] + 1, n) or sizes.sum() % n:
                raise InputError(
                    f"chain: sizes {sizes.shape} must be (layers, n) and add up to a multiple of n"
                )
            object.__setattr__(self, "sizes", sizes)
        object.__setattr__(self, "flow", flow)
        object.__setattr__(self, "distance", distance)

    @property
    def num_layers(self) -> int:
        """Layers of the chain."""
        return int(self.flow.shape[0]) + 1

    @property
    def num_ranks(self) -> int:
        """Clusters of a layer, and ranks."""
        return int(self.distance.shape[0])

    @property
    def uniform(self) -> bool:
        """Whether only staying matters: equal distances to others, a smaller one to oneself.

        For ``max`` staying must be free: else flows that stay could be the largest.
        """
        n = self.num_ranks
        off = self.distance[~np.eye(n, dtype=bool)]
        own = np.diag(self.distance)
        scale = SAME * max(float(self.distance.max()), 1e-300)
        if self.combine == "max" and own.max() > 0:
            return False
        flat = n == 1 or bool(np.ptp(off) <= scale)
        return flat and bool(np.ptp(own) <= scale) and (n == 1 or bool(own.max() <= off.min()))

    @property
    def sizes_bind(self) -> bool:
        """Whether the rule about sizes excludes any mapping."""
        return self.sizes is not None and bool((np.ptp(self.sizes, axis=1) > 0).any())

    def pair_cost(self, pair: int, first: NDArray[np.int64], second: NDArray[np.int64]) -> float:
        """Return the cost between a layer and the next, given the rank of each cluster."""
        cost = self.flow[pair] * self.distance[first[:, None], second[None, :]]
        return float(cost.sum() if self.combine == "sum" else cost.max())

    def cost(self, labels: NDArray[np.int64]) -> float:
        """Return the cost of (layers, n) ranks of the clusters."""
        return float(
            sum(self.pair_cost(p, labels[p], labels[p + 1]) for p in range(self.num_layers - 1))
        )

    def allowed(self, labels: NDArray[np.int64]) -> bool:
        """Return whether every layer is a permutation and the rule about sizes holds."""
        whole = bool((np.sort(labels, axis=1) == np.arange(self.num_ranks)).all())
        if not whole or self.sizes is None:
            return whole
        held = np.bincount(labels.ravel(), weights=self.sizes.ravel(), minlength=self.num_ranks)
        return bool((held == self.sizes.sum() / self.num_ranks).all())


@dataclass(frozen=True, eq=False)
class ChainResult:
    """A mapping of every layer and how good it can be at best.

    Attributes
    ----------
    labels
        (layers, n) rank of each cluster.
    cost
        Its cost.
    lower_bound
        No mapping costs less.
    method
        What found it: ``assignment``, ``viterbi``, ``alternating``, ``milp``, ``cp-sat``.
    """

    labels: NDArray[np.int64]
    cost: float
    lower_bound: float
    method: str

    @property
    def optimal(self) -> bool:
        """Whether the mapping is proven to be the best."""
        return self.lower_bound >= self.cost * (1 - 1e-9)


def row_bound(instance: ChainInstance) -> float:
    """Return a bound on the cost from every pair of layers alone.

    Theorem (after Gilmore 1962 and Lawler 1963, for two permutations instead of one). If cluster c
    is on rank g, its flows meet the distances from g in some order, so they cost at least the
    product of the flows in falling and the distances in rising order (the largest term of it for
    ``max``: at least the smallest possible largest product, which the same order attains). Each
    cluster has a rank of its own: the least assignment of these prices bounds the sum, and the
    least over ranks of the largest cluster's price bounds the maximum. The same holds from the
    receiving side.
    """
    from scipy.optimize import linear_sum_assignment

    total = 0.0
    for flow in instance.flow:
        sides = []
        for sent, away in ((flow, instance.distance), (flow.T, instance.distance.T)):
            product = -np.sort(-sent, axis=1)[:, None, :] * np.sort(away, axis=1)[None, :, :]
            if instance.combine == "sum":
                price = product.sum(axis=2)
                sides.append(float(price[linear_sum_assignment(price)].sum()))
            else:
                sides.append(float(product.max(axis=2).min(axis=1).max()))
        total += max(sides)
    return total * (1 - SAME)
