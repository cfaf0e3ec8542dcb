"""Load balancing of Huang et al. (arXiv 2303.06182): greedy, and greedy against correlation.

Both place the experts by falling mean load on the rank with the smallest load among those that
hold fewer than E/R. The anti-correlation form adds half the Pearson correlation with the experts
that are there, so that experts that are busy at the same time part.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from moeplace.formulations.peers.layout import known_token_sets, one_replica, place
from moeplace.formulations.solver import Solved

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from moeplace.formulations.solver import Run
    from moeplace.placement import Placement, Problem
    from moeplace.traces import TokenSets

CORRELATION_WEIGHT = 0.5  # of the paper


def greedy_ranks(
    load: NDArray[np.float64],
    num_ranks: int,
    pair_cost: NDArray[np.float64] | None = None,
    order: NDArray[np.int64] | None = None,
) -> NDArray[np.int64]:
    """Return (experts,) ranks: heaviest first, to the lightest rank with room, ⌈E/R⌉ on each.

    Parameters
    ----------
    load
        (experts,) mean loads.
    num_ranks
        R.
    pair_cost
        (experts, experts) what an expert's load grows by beside another one; None for nothing.
    order
        (experts,) the experts, heaviest first; None sorts them by load, ties by number.
    """
    experts = load.size
    cap = -(-experts // num_ranks)
    rank = np.full(experts, -1, np.int64)
    used = np.zeros(num_ranks, np.int64)
    rank_load = np.zeros(num_ranks)
    beside = np.zeros((num_ranks, experts))  # pair cost of an expert with those on a rank
    for expert in np.argsort(-load, kind="stable") if order is None else order:
        cost = np.where(used < cap, rank_load + beside[:, expert], np.inf)
        chosen = int(cost.argmin())
        rank[expert] = chosen
        used[chosen] += 1
        rank_load[chosen] += load[expert]
        if pair_cost is not None:
            beside[chosen] += pair_cost[expert]
    return rank


def correlation(sets: TokenSets, num_experts: int) -> NDArray[np.float64]:
    """Return (experts, experts) Pearson correlation of two experts' use, over tokens.

    Experts that are used by no token or by all have none. The paper correlates the loads of
    batches; a workload keeps no batches, so a batch is one token here.
    """
    chance = sets.load(num_experts) / sets.total_weight
    both = sets.coactivation(num_experts) / sets.total_weight
    spread = np.sqrt(np.maximum(chance * (1 - chance), 0.0))
    scale = spread[:, None] * spread[None, :]
    covariance = both - chance[:, None] * chance[None, :]
    rho: NDArray[np.float64] = np.divide(
        covariance, scale, out=np.zeros_like(scale), where=scale > 1e-12
    )
    return rho


def huang_greedy(problem: Problem, run: Run, initial: Placement | None) -> Solved:
    """Place by mean load alone; no replicas."""
    ranks = [greedy_ranks(row, problem.num_ranks) for row in problem.load_share]
    return Solved(place(problem, one_replica(np.stack(ranks), problem.num_ranks)))


def huang_anticorrelation(problem: Problem, run: Run, initial: Placement | None) -> Solved:
    """Place by mean load plus half the correlation with the experts on the rank; no replicas.

    Raises
    ------
    InputError
        If the workload is known by its loads alone.
    """
    ranks = [
        greedy_ranks(
            load, problem.num_ranks, CORRELATION_WEIGHT * correlation(sets, problem.num_experts)
        )
        for load, sets in zip(
            problem.load_share, known_token_sets(problem, "huang-anticorrelation"), strict=True
        )
    ]
    return Solved(place(problem, one_replica(np.stack(ranks), problem.num_ranks)))
