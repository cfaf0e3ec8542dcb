"""Hierarchical expert swap of HierMoE (Lin et al., arXiv 2508.09591).

Of all pairs of experts, the two whose exchange makes the modelled all-to-all time least change
places; the paper does so once per training iteration, here until no exchange helps. The time counts
de-duplicated tokens of the fullest group on each level of the fabric: a flat exchange over all
ranks, or one between nodes and one inside, whichever is faster at the start. No replicas.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from moeplace.formulations.peers.layout import (
    contiguous_holds,
    holds_of,
    known_token_sets,
    one_replica,
    place,
    port_Bps,
)
from moeplace.formulations.solver import Solved

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from moeplace.formulations.solver import Run
    from moeplace.placement import Placement, Problem
    from moeplace.traces import TokenSets


def level_factors(problem: Problem, fullest: tuple[float, float]) -> tuple[float, float]:
    """Return seconds per byte, times members, of the maxima over nodes and over ranks.

    Flat: G/B_slow on the fullest rank. In two levels: U/B_slow on the fullest node plus G/B_fast on
    the fullest rank, with G ranks and U nodes.

    Parameters
    ----------
    problem
        Gives ranks, nodes and bandwidths.
    fullest
        Share of the tokens that reach the fullest node and the fullest rank.
    """
    system = problem.system
    slow = port_Bps(problem)
    fast = system.link_GBps * system.link_efficiency * 1e9
    flat = (0.0, problem.num_ranks / slow)
    split = (system.num_nodes / slow, problem.num_ranks / fast)
    if system.num_nodes == 1 or flat[1] * fullest[1] <= np.dot(split, fullest):
        return flat
    return split


def fullest_share(sets: TokenSets, group_of_expert: NDArray[np.int64]) -> float:
    """Return the largest share of tokens that one group of experts sees."""
    num_groups = int(group_of_expert.max()) + 1
    touched = np.zeros((sets.num_sets, num_groups), bool)
    row, column = np.nonzero(sets.ids >= 0)
    touched[row, group_of_expert[sets.ids[row, column]]] = True
    return float((sets.weight @ touched).max() / sets.total_weight)


def hiermoe(problem: Problem, run: Run, initial: Placement | None) -> Solved:
    """Swap experts, best pair first, from `initial` if it has no replicas, else contiguous.

    Raises
    ------
    InputError
        If the workload is known by its loads alone.
    """
    from moeplace.formulations.peers.hiermoe_kernels import swap_experts

    token_sets = known_token_sets(problem, "hiermoe")
    holds = contiguous_holds(problem)
    if initial is not None and int(initial.replica_count.max()) == 1:
        holds = holds_of(initial)
    ranks = holds.argmax(axis=1).astype(np.int64)
    node_of_rank = problem.system.topology.node_of_rank
    num_groups = np.array([problem.system.num_nodes, problem.num_ranks], np.int64)
    limit = ""
    for layer, sets in enumerate(token_sets):
        if run.out_of_time():
            limit = "time"
            break
        group = np.stack([node_of_rank[ranks[layer]], ranks[layer]]).astype(np.int64)
        factors = level_factors(
            problem, (fullest_share(sets, group[0]), fullest_share(sets, group[1]))
        )
        levels = [level for level in (0, 1) if factors[level] > 0]
        moved = group[levels]
        swap_experts(
            sets.ids,
            sets.weight / sets.total_weight,
            moved,
            num_groups[levels],
            np.array(factors)[levels] / max(factors),  # only their ratio matters
            problem.num_experts,
        )
        ranks[layer] = moved[-1]
    return Solved(place(problem, one_replica(ranks, problem.num_ranks)), limit=limit)
