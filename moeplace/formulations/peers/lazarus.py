"""Lazarus (Wu et al., arXiv 2407.04656): replicas by load, placed for recovery after failures.

Replica counts follow the loads; the placement with maximum rank overlap (MRO) keeps the experts of
a group on the same ranks, which makes it most likely that every expert survives when ranks fail.
Differences from the paper: an expert lies at most once on a rank; experts with equally many
replicas keep their order (the theorem needs counts only); and f, the replicas that every expert has
at least, is 1, as without a wish to survive failures.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from moeplace.formulations.heuristics.tables import usable_replicas
from moeplace.formulations.peers.layout import place
from moeplace.formulations.solver import Solved

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from moeplace.formulations.solver import Run
    from moeplace.placement import Placement, Problem


def replica_counts(load: NDArray[np.float64], total: int, most: int) -> NDArray[np.int64]:
    """Return (experts,) replicas: r_e = max(⌊t_e / Σ_{e' ≥ e} t_{e'} · slots left⌋, 1).

    Experts in ascending order of load; the last takes what is left. What would exceed `most` goes
    to the experts with the highest load per replica.

    Parameters
    ----------
    load
        (experts,) t_e.
    total
        Replicas of all experts, at least one for each.
    most
        Most replicas of one expert, the number of ranks.
    """
    count = np.ones(load.size, np.int64)
    left, tokens = total, float(load.sum())
    for expert in np.argsort(load, kind="stable"):
        share = load[expert] / tokens if tokens > 0 else 1.0
        # A share of 1 − ε for the last expert must not lose a replica to rounding.
        count[expert] = min(max(int(share * left + 1e-9), 1), most, left)
        left -= int(count[expert])
        tokens -= load[expert]
    for _ in range(left):
        open_ = count < most
        if not open_.any():
            break
        count[int(np.where(open_, load / count, -1.0).argmax())] += 1
    return count


def overlapping(
    count: NDArray[np.int64], load: NDArray[np.float64], num_ranks: int, slots_per_rank: int
) -> NDArray[np.bool_]:
    """Return (ranks, experts): groups of `slots_per_rank` experts on the same ranks.

    In ascending order of replicas, each group of experts fills as many ranks as its first expert
    has replicas. The replicas that remain go to the slots that remain, those with the largest load
    first, each to the rank with the least; one that finds no rank without its expert is dropped.
    """
    experts = count.size
    order = np.argsort(count, kind="stable")
    holds = np.zeros((num_ranks, experts), bool)
    first = 0
    for start in range(0, experts, slots_per_rank):
        group = order[start : start + slots_per_rank]
        last = min(first + int(count[group[0]]), num_ranks)
        holds[first:last, group] = True
        first = last
    share = load / count
    rank_load = holds @ share
    for expert in np.argsort(-share, kind="stable"):
        for _ in range(int(count[expert] - holds[:, expert].sum())):
            open_ = ~holds[:, expert] & (holds.sum(axis=1) < slots_per_rank)
            if not open_.any():
                break
            rank = int(np.where(open_, rank_load, np.inf).argmin())
            holds[rank, expert] = True
            rank_load[rank] += share[expert]
    return holds


def lazarus(problem: Problem, run: Run, initial: Placement | None) -> Solved:
    """Replicate by load, place with maximum rank overlap."""
    total = usable_replicas(problem)
    holds = [
        overlapping(
            replica_counts(load, total, problem.num_ranks),
            load,
            problem.num_ranks,
            problem.slots_per_rank,
        )
        for load in problem.load_share
    ]
    return Solved(place(problem, np.stack(holds)))
