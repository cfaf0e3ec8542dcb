"""Solver ``partition``: every layer partitioned by the ranks its tokens touch, no replicas."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from moeplace.clock import wall
from moeplace.errors import InfeasibleError, InputError, LimitError
from moeplace.formulations.heuristics.robust import robust
from moeplace.formulations.heuristics.tables import without_duplicates
from moeplace.formulations.partition.room import group_aligned, longest_first
from moeplace.formulations.partition.solve import partition
from moeplace.formulations.solver import Run, Solved
from moeplace.parallel import available_cores
from moeplace.placement import Placement, keep_slots, relabel_ranks

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from moeplace.placement import Problem
    from moeplace.traces import TokenSets

ROUNDS, LARGE = 5, 128  # of annealing in a layer without a time limit; 1 above so many experts
LEAST_S = 0.02  # time limit of a layer that comes too late


@dataclass(frozen=True, eq=False)
class PartitionTask:
    """One layer, complete in itself, so that any worker can do it.

    Attributes
    ----------
    starts
        (starts, experts) ranks.
    node_of_rank
        (ranks,) where ranks are on nodes that traffic should not leave, else all 0.
    deadline, layers_left
        Clock time at which all layers should be done, None for none, and how many share the
        time from the beginning of this one, over the workers.
    """

    sets: TokenSets
    starts: NDArray[np.int32]
    slots_per_rank: int
    node_of_rank: NDArray[np.int64]
    max_load: float | None
    seed: int
    deadline: float | None
    layers_left: float


def partition_layers(problem: Problem, run: Run, initial: Placement | None) -> Solved:
    """Minimize the mean number of ranks λ that a token touches, layer by layer.

    Starts are the contiguous map, a map that cuts few of the router's expert groups, recursive
    bisections of the co-activation, and `initial` or the current placement where they hold no
    replicas. Where copies are sent to a node once, the ranks found are then spread over nodes so
    that tokens touch few of those. Redundant slots stay empty.

    Raises
    ------
    InputError
        If the workload is known by its loads alone, or the number of moves is limited.
    """
    if problem.scenarios:
        return robust(problem, run, initial, partition_layers)
    if problem.workload.token_sets is None:
        raise InputError(
            f"solver 'partition' needs token sets and workload {problem.workload.name!r} has loads "
            "only; give a trace, or use solver auto"
        )
    if problem.max_moves is not None:
        raise InputError("solver partition cannot limit moves; use solver auto for max_moves")
    tasks = _tasks(problem, run, initial)
    with run.workers.started() as pool:
        rows = np.array(pool.map(run_task, tasks))
    late = run.out_of_time()
    placement = Placement.from_rank_of_expert(
        rows, num_ranks=problem.num_ranks, layer_ids=problem.workload.layer_ids
    )
    placement = without_duplicates(problem, placement)
    if problem.current is not None:
        placement = relabel_ranks(placement, problem.current, problem.system.topology)
        if np.array_equal(problem.current.rank_of_slot, problem.rank_of_slot):
            placement = keep_slots(placement, problem.current)
    run.report(placement)
    return Solved(placement, limit="time" if late else "")


def run_task(task: PartitionTask) -> NDArray[np.int32]:
    """Return (experts,) ranks of a layer."""
    limit = None
    if task.deadline is not None:
        limit = max(LEAST_S, (task.deadline - wall()) / task.layers_left)
    ids, weight = task.sets.ids, task.sets.weight
    num_experts, ranks = task.starts.shape[1], task.node_of_rank.size
    rounds = ROUNDS if num_experts <= LARGE else 1
    try:
        part = partition(
            ids,
            weight,
            num_experts,
            ranks,
            task.slots_per_rank,
            max_load=task.max_load,
            time_limit_s=limit,
            seed=task.seed,
            initial=task.starts,
            max_iterations=rounds if limit is None else None,
        )
    except (InfeasibleError, LimitError):  # where nothing meets max_load, the most even map
        room = np.full(ranks, task.slots_per_rank)
        part = longest_first(task.sets.load(num_experts), room)
    nodes = int(task.node_of_rank.max()) + 1
    if nodes == 1:
        return part
    # a cluster of experts goes where the others are that its tokens touch
    node = partition(
        np.where(ids >= 0, part[ids], -1),
        weight,
        ranks,
        nodes,
        np.bincount(task.node_of_rank),
        time_limit_s=None,
        seed=task.seed,
        initial=task.node_of_rank,
        max_iterations=0,
    )
    name = np.empty(ranks, np.int32)
    name[np.argsort(node, kind="stable")] = np.argsort(task.node_of_rank, kind="stable")
    renamed: NDArray[np.int32] = name[part]
    return renamed


def _tasks(problem: Problem, run: Run, initial: Placement | None) -> list[PartitionTask]:
    node_of_rank = np.zeros(problem.num_ranks, np.int64)
    if problem.dedup == "node":
        node_of_rank = np.asarray(problem.system.topology.node_of_rank, np.int64)
    room = np.full(problem.num_ranks, problem.slots_per_rank)
    grouped = group_aligned(problem.num_experts, problem.model.n_group, room)
    given = [
        placement.replicas_on_rank.argmax(axis=2).astype(np.int32)
        for placement in (initial, problem.current)
        if placement is not None and (placement.replica_count == 1).all()
    ]
    left = run.remaining_s()
    deadline = None if left is None else wall() + left
    here = available_cores() if run.workers.engine in ("threads", "loky") else 1
    workers = run.workers.jobs or here
    sets = problem.workload.token_sets or ()
    return [
        PartitionTask(
            layer_sets,
            np.stack([grouped, *(rows[layer] for rows in given)]),
            problem.slots_per_rank,
            node_of_rank,
            problem.max_load,
            run.seed,
            deadline,
            max(1.0, (problem.num_layers - layer) / workers),
        )
        for layer, layer_sets in enumerate(sets)
    ]
