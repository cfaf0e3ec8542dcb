"""Baselines that look at no load: contiguous, round-robin, random."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from moeplace.formulations.heuristics.tables import cut_into_ranks, to_placement, usable_replicas
from moeplace.formulations.solver import Solved

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from moeplace.formulations.solver import Run
    from moeplace.placement import Placement, Problem


def contiguous_table(
    num_layers: int, num_experts: int, num_replicas: int, num_ranks: int, slots_per_rank: int
) -> NDArray[np.int32]:
    """Return (layers, slots): experts 0..E−1, then 0, 1, … again, in slot order.

    This is the map vLLM and SGLang start with: the redundant slots repeat the first experts. A
    rank holds at most ⌈n/R⌉ consecutive replicas, so with n ≤ E · R never an expert twice.
    """
    order = np.arange(num_replicas, dtype=np.int32) % np.int32(num_experts)
    table = cut_into_ranks(order[None, :], num_ranks, slots_per_rank)
    return np.repeat(table, num_layers, axis=0)


def contiguous(problem: Problem, run: Run, initial: Placement | None) -> Solved:
    """Place experts in order, the same number on every rank (what engines load by default)."""
    table = contiguous_table(
        problem.num_layers,
        problem.num_experts,
        usable_replicas(problem),
        problem.num_ranks,
        problem.slots_per_rank,
    )
    return Solved(to_placement(problem, table))


def round_robin(problem: Problem, run: Run, initial: Placement | None) -> Solved:
    """Place expert e on rank e mod R; redundant slots stay empty."""
    expert = np.arange(problem.num_experts, dtype=np.int32)
    row = np.full(problem.num_slots, -1, np.int32)
    slot = (expert % problem.num_ranks) * problem.slots_per_rank + expert // problem.num_ranks
    row[slot] = expert
    return Solved(to_placement(problem, np.repeat(row[None, :], problem.num_layers, axis=0)))


def random(problem: Problem, run: Run, initial: Placement | None) -> Solved:
    """Place a random permutation of the experts in every layer; redundant slots stay empty."""
    generator = np.random.default_rng(run.seed)
    experts = np.arange(problem.num_experts, dtype=np.int32)
    order = generator.permuted(np.repeat(experts[None, :], problem.num_layers, axis=0), axis=1)
    table = cut_into_ranks(order, problem.num_ranks, problem.slots_per_rank)
    return Solved(to_placement(problem, table))
