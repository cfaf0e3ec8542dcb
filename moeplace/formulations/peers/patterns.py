"""Remap and Dup of "Patterns behind Chaos" (Yu et al., arXiv 2510.05497, Algorithm 2).

Both balance a roofline cost of each expert, not its tokens. The paper takes the loads of a
request's prefill to place for its decode; here they are those of the problem's workload.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from moeplace.formulations.heuristics.tables import usable_replicas
from moeplace.formulations.peers.huang import greedy_ranks
from moeplace.formulations.peers.layout import (
    contiguous_holds,
    one_replica,
    pairs_of_step,
    place,
    roofline_s,
)
from moeplace.formulations.solver import Solved

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from moeplace.formulations.solver import Run
    from moeplace.placement import Placement, Problem

    Cost = Callable[[NDArray[np.float64]], NDArray[np.float64]]


def remap(problem: Problem, run: Run, initial: Placement | None) -> Solved:
    """Place by falling cost on the least loaded rank with fewer than E/R experts; no replicas.

    Experts that cost the same, as all do that wait for their weights, go by tokens.
    """
    pairs = pairs_of_step(problem)
    cost = roofline_s(problem, pairs)
    ranks = [
        greedy_ranks(
            cost[layer], problem.num_ranks, order=np.lexsort((-pairs[layer], -cost[layer]))
        )
        for layer in range(problem.num_layers)
    ]
    return Solved(place(problem, one_replica(np.stack(ranks), problem.num_ranks)))


def dup(problem: Problem, run: Run, initial: Placement | None) -> Solved:
    """From the contiguous layout, add the copy that lowers the largest rank cost most."""
    holds = contiguous_holds(problem)
    spare = usable_replicas(problem) - problem.num_experts
    pairs = pairs_of_step(problem)
    for layer in range(problem.num_layers):
        duplicate(
            holds[layer],
            pairs[layer],
            lambda served: roofline_s(problem, served),
            spare,
            problem.slots_per_rank,
        )
    return Solved(place(problem, holds))


def duplicate(
    holds: NDArray[np.bool_],
    pairs: NDArray[np.float64],
    cost: Cost,
    spare: int,
    slots_per_rank: int,
) -> None:
    """Add up to `spare` copies to `holds`, each time the one after which the maximum is least.

    The tokens of an expert are split evenly over its replicas. Ends early where no copy lowers
    the largest cost of a rank: more copies would only take memory.

    Parameters
    ----------
    holds
        (ranks, experts) changed in place.
    pairs
        (experts,) tokens of each expert.
    cost
        Seconds of replicas that serve the tokens given.
    spare
        Most copies.
    slots_per_rank
        Most experts on a rank.
    """
    count = holds.sum(axis=0)
    for _ in range(spare):
        now, after = cost(pairs / count), cost(pairs / (count + 1))
        rank_cost = holds @ now
        # (ranks, experts): the holders of an expert lose, the rank that gets the copy gains.
        relieved = (rank_cost[:, None] - holds * (now - after)).max(axis=0)
        free = ~holds & (holds.sum(axis=1) < slots_per_rank)[:, None]
        largest = np.maximum(relieved[None, :], rank_cost[:, None] + after[None, :])
        largest = np.where(free, largest, np.inf)
        rank, expert = np.unravel_index(int(largest.argmin()), largest.shape)
        if not largest[rank, expert] < rank_cost.max() * (1 - 1e-12):
            return
        holds[rank, expert] = True
        count[expert] += 1
