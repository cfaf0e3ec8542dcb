"""What keeps a placement from being loaded: every broken rule, named."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from moeplace.placement.groups import split_groups
from moeplace.placement.load_cap import overloads
from moeplace.placement.migration import moved_replicas

if TYPE_CHECKING:
    from moeplace.placement.placement import Placement
    from moeplace.placement.problem import Problem


def violations(problem: Problem, placement: Placement) -> list[str]:
    """Return one line per broken rule of a problem; empty if the placement is feasible.

    Rules (DESIGN §5, capacity): those of :func:`slot_violations`; no rank above `max_load` mean
    rank loads, see :mod:`moeplace.placement.load_cap`.
    """
    broken = slot_violations(problem, placement)
    if broken and not _has_all(problem, placement):
        return broken  # loads are known where every expert is somewhere
    return broken + overloads(problem, placement)


def _has_all(problem: Problem, placement: Placement) -> bool:
    """Return whether the placement has the problem's shape and every expert."""
    expected = (problem.num_layers, problem.num_experts, problem.num_ranks)
    found = (placement.num_layers, placement.num_experts, placement.num_ranks)
    return expected == found and bool((placement.replica_count > 0).all())


def slot_violations(problem: Problem, placement: Placement) -> list[str]:
    """Return one line per broken rule about slots and moves, whatever the loads.

    The problem's layers, experts and ranks; every expert at least
    one replica and at most one per rank; at most experts + redundant replicas in a layer; at
    most `slots_per_rank` occupied slots on a rank; at most `max_moves` replicas moved; every
    group on one node where the problem keeps groups there.
    """
    expected = (problem.num_layers, problem.num_experts, problem.num_ranks)
    found = (placement.num_layers, placement.num_experts, placement.num_ranks)
    if expected != found:
        return [f"shape: (layers, experts, ranks) is {found}, the problem has {expected}"]
    broken = []
    layers = problem.workload.layer_ids or tuple(range(problem.num_layers))
    on_rank = placement.replicas_on_rank
    moved = np.zeros(problem.num_layers, np.int64)
    if problem.current is not None:
        moved = moved_replicas(placement, problem.current)
    for layer, name in enumerate(layers):
        counts = on_rank[layer]
        if (missing := np.flatnonzero(counts.sum(axis=1) == 0)).size:
            broken.append(f"layer {name}: expert {missing[0]} has no replica ({missing.size} so)")
        if (doubled := np.argwhere(counts > 1)).size:
            expert, rank = doubled[0]
            broken.append(
                f"layer {name}: expert {expert} has {counts[expert, rank]} replicas on rank {rank} "
                f"({len(doubled)} such pairs)"
            )
        if (total := int(counts.sum())) > problem.max_replicas:
            broken.append(f"layer {name}: {total} replicas, at most {problem.max_replicas} allowed")
        if (most := int(counts.sum(axis=0).max())) > problem.slots_per_rank:
            rank = int(counts.sum(axis=0).argmax())
            broken.append(
                f"layer {name}: rank {rank} holds {most} experts, it has {problem.slots_per_rank} "
                "slots"
            )
        if problem.max_moves is not None and moved[layer] > problem.max_moves:
            broken.append(
                f"layer {name}: {moved[layer]} replicas moved, at most {problem.max_moves} allowed"
            )
    return broken + split_groups(problem, placement)
