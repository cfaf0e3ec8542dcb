"""Replicas for dispatch ``cover``: a copy is worth the rank that tokens no longer touch."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from moeplace.formulations.heuristics.tables import to_placement
from moeplace.placement import evaluate

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from moeplace.formulations.solver import Run
    from moeplace.placement import Placement, Problem

CANDIDATES = 12  # copies that are scored exactly before one is taken


def replicate_for_cover(problem: Problem, placement: Placement, run: Run) -> Placement:
    """Add redundant experts one by one where they shorten the objective most.

    In every round the copies (expert, rank) are ranked by the tokens for which the expert is
    alone on its rank while the other rank is touched anyway; the first few are scored with
    ``evaluate`` and the best is taken, until none helps, the redundancy is used up or the time
    is. Complexity: O(redundant · (token sets · top_k · ranks + candidates · evaluation)) a layer.

    Parameters
    ----------
    problem
        With dispatch ``cover``, token sets and redundancy.
    placement
        Any feasible placement in the problem's slots.
    """
    table = placement.expert_of_slot.copy()
    for layer in range(problem.num_layers):
        single = problem.replace(workload=problem.workload.select_layers([layer]), holdout=None)
        row = table[layer : layer + 1]
        best = evaluate(single, to_placement(single, row)).objective
        while (row >= 0).sum() < problem.max_replicas and not run.out_of_time():
            found: tuple[float, NDArray[np.int32]] | None = None
            for expert, slot in _candidates(single, row[0]):
                trial = row.copy()
                trial[0, slot] = expert
                value = evaluate(single, to_placement(single, trial)).objective
                if value < best and (found is None or value < found[0]):
                    found = value, trial
            if found is None:
                break
            best, row = found
        table[layer] = row[0]
    return to_placement(problem, table)


def _candidates(problem: Problem, row: NDArray[np.int32]) -> list[tuple[int, int]]:
    """Return (expert, free slot) pairs, those that save most touches first."""
    from moeplace.formulations.heuristics.cover_kernels import saved_touches

    if problem.workload.token_sets is None:
        return []
    sets = problem.workload.token_sets[0]
    holds = np.zeros((problem.num_experts, problem.num_ranks), np.bool_)
    occupied = row >= 0
    holds[row[occupied], problem.rank_of_slot[occupied]] = True
    saved = saved_touches(sets.ids, sets.weight, holds)
    free = {int(problem.rank_of_slot[s]): int(s) for s in np.flatnonzero(~occupied)[::-1]}
    closed = [r for r in range(problem.num_ranks) if r not in free]
    saved[:, closed] = 0.0
    order = np.argsort(-saved, axis=None, kind="stable")[:CANDIDATES]
    pairs = [divmod(int(i), problem.num_ranks) for i in order if saved.flat[i] > 0]
    return [(expert, free[rank]) for expert, rank in pairs]
