"""Few copies with replicas and a limit on load: partition, then anneal, every layer by itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from moeplace.clock import monotonic, wall
from moeplace.errors import InfeasibleError, LimitError
from moeplace.formulations.heuristics.layer_search import search_terms, token_index
from moeplace.formulations.heuristics.tables import to_placement, without_duplicates
from moeplace.parallel import available_cores

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from moeplace.formulations.solver import Run
    from moeplace.placement import Placement, Problem

VOLUMES = ("copies", "hops")
MOST_RANKS = 64  # ranks of a token are the bits of a word
WORK = 1.5e7  # token sets looked at in a layer, without a time limit
PROPOSALS = (2_000, 20_000)  # fewest and most without a time limit
MOST_PROPOSALS = 600_000
SLICES = 10
CALIBRATION = 500  # proposals that are timed to fill a time limit
ROUNDS = 4  # of the partition that replicas are added to
LARGE = 128  # experts above which one round has to do
HEAT = (1e-3, 1e-4)  # first and last temperature, in ranks a token touches
PENALTY = (0.5, 10.0)  # first and last price of a pair above the limit, in ranks
MARGIN = 1e-7  # kept from the limit: the loads of a move are evened out in few sweeps


@dataclass(frozen=True, eq=False)
class CopiesTask:
    """One layer's search, complete in itself, so that any worker can do it.

    Attributes
    ----------
    starts
        (ranks, slots per rank) tables to start from.
    byte_cost, most_load, cover
        See :func:`~moeplace.formulations.heuristics.copies_kernels.anneal`.
    uniform
        Whether all ranks cost the same.
    seconds
        Time for the layer, None for a fixed number of proposals.
    deadline
        Clock time after which the search is not begun.
    """

    layer: int
    ids: NDArray[np.int32]
    weight: NDArray[np.float64]
    token_start: NDArray[np.int64]
    token_of: NDArray[np.int32]
    load: NDArray[np.float64]
    starts: tuple[NDArray[np.int32], ...]
    max_replicas: int
    byte_cost: NDArray[np.float64]
    uniform: bool
    most_load: float
    cover: bool
    seed: int
    seconds: float | None
    deadline: float | None


@dataclass(frozen=True, eq=False)
class LayerFound:
    """Where a layer's search ended: (slots,) row, excess pairs, cost and loads per token."""

    row: NDArray[np.int32]
    over: float
    cost: float
    load: NDArray[np.float64]


def counts_ranks(problem: Problem) -> bool:
    """Return whether the objective is a sum over the ranks that tokens touch, as priced here."""
    return (
        problem.objective in VOLUMES
        and problem.dedup == "rank"
        and problem.num_ranks <= MOST_RANKS
        and (problem.dispatch in ("even", "cover") or problem.redundant == 0)
        and problem.workload.token_sets is not None
        and problem.max_moves is None
        and not problem.scenarios
        and not problem.groups_on_nodes
        and problem.execution == "return"
    )


def few_copies(problem: Problem, run: Run, candidates: list[Placement]) -> list[Placement]:
    """Return the placement found, or none if the time is up.

    Parameters
    ----------
    problem
        One for which :func:`counts_ranks` holds.
    candidates
        Placements to start from; they may be overloaded.
    """
    if run.out_of_time() or not candidates:
        return []
    tables = np.array([without_duplicates(problem, c).expert_of_slot for c in candidates])
    tasks = copies_tasks(problem, run, tables)
    with run.workers.started() as pool:
        found = pool.map(search_layer, tasks)
    rows = np.array(
        [
            tables[0, task.layer] if f is None else f.row
            for task, f in zip(tasks, found, strict=True)
        ]
    )
    return [to_placement(problem, rows)]


def copies_tasks(problem: Problem, run: Run, tables: NDArray[np.int32]) -> list[CopiesTask]:
    """Return the search of every layer.

    Parameters
    ----------
    tables
        (starts, layers, slots) experts.
    """
    left = run.remaining_s()
    at_once = run.workers.jobs or available_cores()
    turns = -(-problem.num_layers // at_once)
    cost = search_terms(problem).linear / problem.tokens
    unit = float(cost.mean()) or 1.0
    bytes_ = np.zeros((-(-problem.num_ranks // 8), 256))
    for rank in range(problem.num_ranks):
        has = (np.arange(256) >> (rank % 8)) & 1
        bytes_[rank // 8] += has * cost[rank] / unit
    shape = (problem.num_ranks, problem.slots_per_rank)
    tasks = []
    for layer in range(problem.num_layers):
        ids, weight, start, tokens = token_index(problem, layer)
        pairs = float(weight @ (ids >= 0).sum(axis=1))
        limit = np.inf
        if problem.max_load is not None:
            limit = problem.max_load * pairs / problem.num_ranks * (1 - MARGIN)
        # loads are those of the tokens under cover, the workload's own elsewhere
        load = problem.load_share[layer] * pairs
        if problem.dispatch == "cover":
            real = ids >= 0
            each = np.repeat(weight, real.sum(axis=1))
            load = np.bincount(ids[real], weights=each, minlength=problem.num_experts)
        tasks.append(
            CopiesTask(
                layer, ids, weight, start, tokens, load,
                tuple(tables[:, layer].reshape(-1, *shape)), problem.max_replicas,
                bytes_, bool(np.ptp(cost) <= 1e-12 * unit), limit,
                problem.dispatch == "cover", run.seed,
                None if left is None else 0.9 * left / turns,
                None if left is None else wall() + left,
            )
        )  # fmt: skip
    return tasks


def search_layer(task: CopiesTask) -> LayerFound | None:
    """Partition, anneal with replicas, return the best; None if it is too late to begin."""
    if task.deadline is not None and wall() >= task.deadline:
        return None
    begun = monotonic()
    starts = [*task.starts]
    part = _partition(task)
    if part is not None:
        starts.append(part)
    priced = [_anneal(task, start, 0, 0.0, 0.0) for start in starts]
    best = min(priced, key=lambda found: (found.over, found.cost))
    if task.max_replicas == task.load.size and task.uniform and part is not None:
        return best  # without replicas the partition has been searched already
    per_proposal = 2 * task.token_of.size / task.load.size
    proposals = int(np.clip(WORK / max(per_proposal, 1.0), *PROPOSALS))
    if task.seconds is not None:
        timed = monotonic()
        best = min(
            best,
            _anneal(task, _table(task, best), CALIBRATION, 1.0, 1.0),
            key=lambda found: (found.over, found.cost),
        )
        each = (monotonic() - timed) / CALIBRATION
        left = task.seconds - (monotonic() - begun)
        proposals = int(np.clip(left / each, 0, MOST_PROPOSALS))
    at = _table(task, best)
    for number in range(SLICES):
        if task.deadline is not None and wall() >= task.deadline:
            break
        found = _anneal(task, at, proposals // SLICES, number / SLICES, (number + 1) / SLICES)
        best = min(best, found, key=lambda f: (f.over, f.cost))
    return best


def _table(task: CopiesTask, found: LayerFound) -> NDArray[np.int32]:
    return found.row.reshape(task.starts[0].shape).copy()


def _anneal(
    task: CopiesTask, table: NDArray[np.int32], proposals: int, since: float, until: float
) -> LayerFound:
    """Anneal a part of the way from hot to cold; `table` is left where the search stands."""
    from moeplace.formulations.heuristics.copies_kernels import anneal

    def at(ends: tuple[float, float], done: float) -> float:
        return ends[0] * float((ends[1] / ends[0]) ** done)

    if proposals == 0:
        table = table.copy()
    seeds = np.random.default_rng([task.seed, task.layer, round(1000 * since)])
    row, over, cost, load = anneal(
        task.ids,
        task.weight,
        task.token_start,
        task.token_of,
        task.load,
        table,
        task.max_replicas,
        task.byte_cost,
        task.most_load,
        task.cover,
        at(HEAT, since),
        at(HEAT, until),
        at(PENALTY, since),
        at(PENALTY, until),
        proposals,
        seeds.integers(1, 2**63, size=1, dtype=np.uint64),
    )
    return LayerFound(row.reshape(-1), float(over), float(cost), load)


def _partition(task: CopiesTask) -> NDArray[np.int32] | None:
    """Return a partition with few ranks a token, within the limit on load if one is found."""
    from moeplace.formulations.partition import find_partition

    ranks, width = task.starts[0].shape
    alone = task.max_replicas == task.load.size
    seconds = None if task.seconds is None else task.seconds * (0.8 if alone else 0.3)
    rounds = (ROUNDS if task.load.size <= LARGE else 1) if seconds is None or not alone else 64
    mean = float(task.load.sum()) / ranks
    cap = None if np.isinf(task.most_load) or mean <= 0 else max(task.most_load / mean, 1.0)
    for limit in dict.fromkeys((cap, None)):
        try:
            rank_of_expert = find_partition(
                task.ids,
                task.weight,
                task.load.size,
                ranks,
                width,
                max_load=limit,
                time_limit_s=seconds,
                seed=task.seed,
                max_iterations=rounds,
            ).rank_of_expert
        except (LimitError, InfeasibleError):
            continue
        table = np.full((ranks, width), -1, np.int32)
        for rank in range(ranks):
            held = np.flatnonzero(rank_of_expert == rank)
            table[rank, : held.size] = held
        return table
    return None
