"""Which experts have replicas, and what each set of replicas is worth to its layer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from moeplace.placement import evaluate

if TYPE_CHECKING:
    from moeplace.cli.report.gather import Gathered
    from moeplace.placement import Placement, Problem, Score

MOST_SCORED = 4000  # placements of one layer that are scored; fewer on more than 32 ranks


@dataclass(frozen=True)
class Replicated:
    """An expert with several replicas in one layer.

    Attributes
    ----------
    row
        Row of the layer.
    load
        The expert's tokens over the mean expert's.
    ranks
        Where it lies.
    dropped_s
        Seconds the layer would lose without the replica that matters least; None where it was
        not worked out. Below 0 the layer would gain.
    fullest
        The rank that would then serve the most.
    fullest_load
        What that rank would serve, over the mean.
    """

    row: int
    expert: int
    load: float
    ranks: tuple[int, ...]
    dropped_s: float | None = None
    fullest: int | None = None
    fullest_load: float | None = None


def replicated(gathered: Gathered) -> list[Replicated]:
    """Return every expert with several replicas; what they are worth in the slowest layers first.

    Each replica is left out in turn and the layer is scored again, until so many placements
    have been scored as a report can wait for. Layers that depend on each other (``stay``) and
    robust problems are not scored.
    """
    problem, placement = gathered.problem, gathered.found.placement
    share = problem.load_share * problem.num_experts
    slowest = np.argsort(-gathered.found.score.layer_time_s, kind="stable")
    alone = problem.execution != "stay" and not problem.scenarios
    room = round(MOST_SCORED * min(1.0, (32 / problem.num_ranks) ** 2)) if alone else 0
    found: list[Replicated] = []
    for row in slowest.tolist():
        experts = np.flatnonzero(placement.replica_count[row] > 1)
        needed = int(placement.replica_count[row][experts].sum())
        room -= needed
        one = _one_layer(problem, placement, row) if room >= 0 and experts.size else None
        for expert in experts.tolist():
            ranks = np.flatnonzero(placement.replicas_on_rank[row, expert])
            plain = Replicated(row, expert, float(share[row, expert]), tuple(ranks.tolist()))
            found.append(plain if one is None else _worth(plain, *one))
    return sorted(found, key=lambda r: (r.row, -r.load))


def _one_layer(
    problem: Problem, placement: Placement, row: int
) -> tuple[Problem, Placement, float]:
    """Return the problem and the placement of one layer, and its time."""
    part = problem.replace(
        workload=problem.workload.select_layers([row]), holdout=None, current=None
    )
    ids = None if placement.layer_ids is None else (placement.layer_ids[row],)
    alone = placement.replace(expert_of_slot=placement.expert_of_slot[row : row + 1], layer_ids=ids)
    return part, alone, evaluate(part, alone).step_time_s


def _worth(expert: Replicated, problem: Problem, placement: Placement, time_s: float) -> Replicated:
    slots = np.flatnonzero(placement.expert_of_slot[0] == expert.expert)
    best: tuple[float, Score] | None = None
    for slot in slots.tolist():
        table = placement.expert_of_slot.copy()
        table[0, slot] = -1
        score = evaluate(problem, placement.replace(expert_of_slot=table))
        if best is None or score.step_time_s < best[0]:
            best = (score.step_time_s, score)
    if best is None:
        return expert
    load = best[1].rank_load[0]
    fullest = int(load.argmax())
    return Replicated(
        expert.row,
        expert.expert,
        expert.load,
        expert.ranks,
        best[0] - time_s,
        fullest,
        float(load[fullest] / load.mean()),
    )
