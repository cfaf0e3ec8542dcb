"""Lower bounds on the load of the fullest rank, from the loads of one layer's experts.

Every bound is a theorem; q_e is the load of expert e, R the number of ranks, s the slots of a rank,
P the most replicas of a layer. A rank's load is the sum over its replicas of their shares of q_e.

**mean.** The ranks together serve Σ q_e, so the fullest serves at least Σ q_e / R. Any split.

**replica.** If every rank serves at most M, so does every replica, and expert e has at least
⌈q_e / M⌉ of them. So M is at least the smallest value with Σ_e max(1, ⌈q_e / M⌉) ≤ P, which is
the largest load per replica after giving replica after replica to the expert where it is largest.
(That no expert has more than R replicas adds nothing: M ≥ q_e / R follows from the mean.) Any
split, and even where an expert lies twice on a rank.

**pigeonhole** (P = E only, so one replica of each expert). A rank holds at least
n = max(0, E − (R − 1) s) experts, because the other ranks have no more slots. For every k ≥ 0
with kR + 1 ≤ E, one rank holds at least k + 1 of the kR + 1 largest experts, so it serves at least
the k + 1 smallest of those, and its other n − k − 1 experts, if so many, are no smaller than the
smallest n − k − 1 of all. k = 0 is "the largest expert and the n − 1 smallest others".

**crowd** (P = E only). Some k ranks together hold the k largest experts, for every k ≤ R. The other
ranks leave them at least m = E − (R − k) s experts, so they serve at least the k largest and the
m − k smallest of the others, and the fullest of them a k-th part of it: large experts compete for
small ones.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from moeplace.formulations.heuristics.lpt import greedy_replicas

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from moeplace.placement import Problem

ROUNDING = 1e-12  # relative margin for sums of floats, so that the bound stays a bound


@dataclass(frozen=True, eq=False)
class LoadBound:
    """Lower bounds on the load of the fullest rank.

    Attributes
    ----------
    value
        (layers,) the largest of the bounds, in the unit of the loads.
    by_name
        (layers,) each bound alone: ``mean``, ``replica`` and, without redundancy, ``pigeonhole``
        and ``crowd``.
    """

    value: NDArray[np.float64]
    by_name: dict[str, NDArray[np.float64]]

    @property
    def total(self) -> float:
        """Sum over layers, a bound on objective ``balance``."""
        return float(self.value.sum())

    @property
    def which(self) -> tuple[str, ...]:
        """Name of the strongest bound of each layer."""
        names = list(self.by_name)
        return tuple(names[i] for i in np.stack(list(self.by_name.values())).argmax(axis=0))


def max_rank_pairs_bound(
    pairs: ArrayLike, num_ranks: int, slots_per_rank: int, max_replicas: int
) -> LoadBound:
    """Return lower bounds on the load of each layer's fullest rank; see the module's theorems.

    They hold for every dispatch policy. Complexity: O(layers · redundant · experts).

    Parameters
    ----------
    pairs
        (experts,) or (layers, experts) loads, ≥ 0, in any unit.
    num_ranks, slots_per_rank
        R, and the slots of each.
    max_replicas
        Most replicas of a layer, ≥ experts.

    Raises
    ------
    InfeasibleError
        If there are fewer replicas than experts.
    """
    load = np.atleast_2d(np.asarray(pairs, np.float64))
    replicas = min(max_replicas, num_ranks * slots_per_rank)
    bounds = {
        "mean": load.sum(axis=1) / num_ranks,
        "replica": (load / greedy_replicas(load, replicas)).max(axis=1),
    }
    if replicas == load.shape[1]:
        bounds["pigeonhole"] = pigeonhole(load, num_ranks, slots_per_rank)
        bounds["crowd"] = crowd(load, num_ranks, slots_per_rank)
    bounds = {name: value * (1 - ROUNDING) for name, value in bounds.items()}
    return LoadBound(np.stack(list(bounds.values())).max(axis=0), bounds)


def load_bound(problem: Problem) -> LoadBound:
    """Return the bounds of a problem's layers in (token, expert) pairs of a step."""
    return max_rank_pairs_bound(
        problem.load_share * float(problem.tokens * problem.top_k),
        problem.num_ranks,
        problem.slots_per_rank,
        problem.max_replicas,
    )


def pigeonhole(value: NDArray[np.float64], num_ranks: int, slots: int) -> NDArray[np.float64]:
    """Return (layers,) the pigeonhole bound of this module for any (layers, experts) values ≥ 0.

    Holds for the largest sum of values on a rank, one replica of each expert.
    """
    experts = value.shape[1]
    smallest = _smallest(value)
    fewest = max(0, experts - (num_ranks - 1) * slots)
    best = np.zeros(value.shape[0])
    for k in range((experts - 1) // num_ranks + 1):
        start = experts - (k * num_ranks + 1)  # of the kR + 1 largest, in ascending order
        among = smallest[:, start + k + 1] - smallest[:, start]
        best = np.maximum(best, among + smallest[:, max(0, fewest - k - 1)])
    return best


def crowd(value: NDArray[np.float64], num_ranks: int, slots: int) -> NDArray[np.float64]:
    """Return (layers,) the crowd bound of this module for any (layers, experts) values ≥ 0.

    Holds for the largest sum of values on a rank, one replica of each expert.
    """
    layers, experts = value.shape
    smallest = _smallest(value)
    best = np.zeros(layers)
    for k in range(1, min(num_ranks, experts) + 1):
        others = max(0, experts - (num_ranks - k) * slots - k)
        largest = smallest[:, experts] - smallest[:, experts - k]
        best = np.maximum(best, (largest + smallest[:, others]) / k)
    return best


def _smallest(value: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return (layers, experts + 1) the sums of the j smallest values, j = 0..experts."""
    none = np.zeros((value.shape[0], 1))
    return np.concatenate([none, np.cumsum(np.sort(value, axis=1), axis=1)], axis=1)
