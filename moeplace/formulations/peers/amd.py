"""The swap heuristic of Miriyala et al. (AMD, INET4AI 2025), which counts what it moves.

Experts of the most and of the least loaded rank are swapped, each time the two after which both are
nearest the mean, until that fails or costs more than it brings. Cost of a step: the fullest rank's
linear compute and exchange time; cost of moving: experts a rank has to receive, over its port.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from moeplace.formulations.heuristics.simple import contiguous_table
from moeplace.formulations.heuristics.tables import to_placement, usable_replicas
from moeplace.formulations.peers.layout import holds_of, pair_exchange_s, place, port_Bps
from moeplace.formulations.solver import Solved

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from moeplace.formulations.solver import Run
    from moeplace.placement import Placement, Problem

INTERVAL_STEPS = 100  # steps between two rebalancings; the interval at which the paper gains most


def swap_towards_mean(
    holds: NDArray[np.bool_], load: NDArray[np.float64], move_cost: float, max_swaps: int
) -> None:
    """Swap experts between the fullest and the lightest rank, in place, while the cost falls.

    Parameters
    ----------
    holds
        (ranks, experts), changed.
    load
        (experts,) load of each expert, split evenly over its replicas.
    move_cost
        What an expert received costs, in the unit of `load`; the rank that receives most counts.
    max_swaps
        Most swaps.
    """
    before = holds.copy()
    share = load / np.maximum(holds.sum(axis=0), 1)
    rank_load = holds @ share
    mean = float(rank_load.mean())
    best = float(rank_load.max())
    for _ in range(max_swaps):
        full, light = int(rank_load.argmax()), int(rank_load.argmin())
        give = np.flatnonzero(holds[full] & ~holds[light])
        take = np.flatnonzero(holds[light] & ~holds[full])
        if not give.size or not take.size:
            return
        shift = share[give][:, None] - share[take][None, :]
        off = np.maximum(
            np.abs(rank_load[full] - shift - mean), np.abs(rank_load[light] + shift - mean)
        )
        i, j = np.unravel_index(int(off.argmin()), off.shape)
        if off[i, j] >= max(rank_load[full] - mean, mean - rank_load[light]) - 1e-12 * mean:
            return
        pair = np.ix_([full, light], [give[i], take[j]])
        holds[pair] = ~holds[pair]
        received = int((holds & ~before).sum(axis=1).max())
        rank_load[full] -= shift[i, j]
        rank_load[light] += shift[i, j]
        cost = float(rank_load.max()) + move_cost * received
        if cost > best:
            holds[pair] = ~holds[pair]
            return
        best = cost


def contiguous_placement(problem: Problem) -> Placement:
    """Return the map engines start with; redundant slots repeat the first experts."""
    table = contiguous_table(
        problem.num_layers,
        problem.num_experts,
        usable_replicas(problem),
        problem.num_ranks,
        problem.slots_per_rank,
    )
    return to_placement(problem, table)


def amd_swap(problem: Problem, run: Run, initial: Placement | None) -> Solved:
    """Swap from `initial`, each move counted; without it from the contiguous map, moves free."""
    holds = holds_of(contiguous_placement(problem) if initial is None else initial)
    move_cost = 0.0
    if initial is not None:
        pair_s = problem.compute_constants[2] + pair_exchange_s(problem)
        pairs = problem.tokens * problem.top_k * INTERVAL_STEPS
        move_cost = problem.expert_bytes / port_Bps(problem) / (pair_s * pairs)
    for layer, load in enumerate(problem.load_share):
        swap_towards_mean(holds[layer], load, move_cost, problem.num_slots)
    return Solved(place(problem, holds))
