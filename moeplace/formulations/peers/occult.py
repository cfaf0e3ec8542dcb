"""Expert placement of Occult (Luo et al., arXiv 2505.13345, ICML 2025): greedy on collaboration.

Two experts collaborate when a token uses both. The ranks are seeded with experts that collaborate
least with one another; then each rank in turn takes the expert that collaborates most, on average,
with those it has, until all ranks hold equally many.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from moeplace.formulations.peers.layout import equal_sizes, known_token_sets, one_replica, place
from moeplace.formulations.solver import Solved

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from moeplace.formulations.solver import Run
    from moeplace.placement import Placement, Problem


def seeds(collaboration: NDArray[np.float64], num_seeds: int) -> list[int]:
    """Return experts that collaborate little: the least of all, then the least with those.

    Parameters
    ----------
    collaboration
        (experts, experts) tokens that use both, zero diagonal.
    num_seeds
        At most the number of experts.
    """
    chosen = [int(collaboration.sum(axis=1).argmin())]
    with_seeds = collaboration[chosen[0]].copy()
    while len(chosen) < num_seeds:
        with_seeds[chosen] = np.inf
        chosen.append(int(with_seeds.argmin()))
        with_seeds += collaboration[chosen[-1]]
    return chosen


def collaborating_ranks(collaboration: NDArray[np.float64], num_ranks: int) -> NDArray[np.int64]:
    """Return (experts,) ranks of equal size, grown from seeds by average collaboration."""
    experts = collaboration.shape[0]
    rank = np.full(experts, -1, np.int64)
    with_rank = np.zeros((num_ranks, experts))  # summed; a rank's average orders alike
    for number, seed in enumerate(seeds(collaboration, min(num_ranks, experts))):
        rank[seed] = number
        with_rank[number] += collaboration[seed]
    with_rank[:, rank >= 0] = -np.inf
    sizes = equal_sizes(experts, num_ranks)
    for size in range(1, int(sizes.max())):
        for number in map(int, np.flatnonzero(sizes > size)):
            expert = int(with_rank[number].argmax())
            rank[expert] = number
            with_rank[number] += collaboration[expert]
            with_rank[:, expert] = -np.inf
    return rank


def occult(problem: Problem, run: Run, initial: Placement | None) -> Solved:
    """Group the experts that collaborate; no replicas.

    Raises
    ------
    InputError
        If the workload is known by its loads alone.
    """
    ranks = [
        collaborating_ranks(sets.coactivation(problem.num_experts), problem.num_ranks)
        for sets in known_token_sets(problem, "occult")
    ]
    return Solved(place(problem, one_replica(np.stack(ranks), problem.num_ranks)))
