"""A placement to start an exact solver from: the best of what heuristics find quickly."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from moeplace.errors import InputError, MoeplaceError
from moeplace.formulations.exact.pair_partition import deal_pairs
from moeplace.formulations.flow.transport import cheapest_assignment, linear_rank_cost
from moeplace.formulations.heuristics.balance import balanced_table
from moeplace.formulations.heuristics.lpt import balance_swaps, lpt_table
from moeplace.formulations.heuristics.tables import (
    to_placement,
    usable_replicas,
    without_duplicates,
)
from moeplace.formulations.registry import load_solver
from moeplace.formulations.solver import Run
from moeplace.placement import Placement, evaluate, violations

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from moeplace.placement import Problem

SHARE = 0.2  # of the time limit that heuristics may take


@dataclass(frozen=True, eq=False)
class Start:
    """Where an exact solver starts.

    Attributes
    ----------
    table
        (layers, ranks · slots) experts, −1 empty.
    feasible
        Whether it keeps all rules.
    """

    table: NDArray[np.int32]
    feasible: bool


def best_start(
    problem: Problem,
    run: Run,
    initial: Placement | None,
    bound: NDArray[np.float64],
    *,
    separable: bool,
) -> Start:
    """Return the best known placement, layer by layer where layers are independent.

    Parameters
    ----------
    bound
        (layers,) where `separable`, else (1,): proven lower bounds, at which searches stop.
    separable
        Whether the objective is a sum over layers, each with its own rules.
    """
    best: Start | None = None
    values = np.empty(0)
    for placement in _candidates(problem, run, initial, bound if separable else None):
        table = _in_slots(problem, placement)
        placed = to_placement(problem, table)
        feasible = not violations(problem, placed)
        if best is not None and not feasible:
            continue
        score = evaluate(problem, placed)
        own = score.layer_objective if separable else np.array([score.objective])
        if best is None or not best.feasible:
            if best is None or feasible:
                best, values = Start(table, feasible), own
            continue
        better = own < values
        merged = np.where(better[:, None], table, best.table) if separable else table
        if better.any():
            best, values = Start(merged, True), np.minimum(values, own)
    if best is None:
        raise MoeplaceError("internal error, please report: no start for an exact solver")
    return best


def _candidates(
    problem: Problem, run: Run, initial: Placement | None, bound: NDArray[np.float64] | None
) -> Iterator[Placement]:
    if initial is not None and not violations(problem, initial):
        yield initial
    if (cost := linear_rank_cost(problem)) is not None:
        ranks_of = cheapest_assignment(cost, problem.slots_per_rank).rank_of_expert
        yield Placement.from_rank_of_expert(
            ranks_of, num_ranks=problem.num_ranks, layer_ids=problem.workload.layer_ids
        )
        return
    load, ranks = problem.workload.load, problem.num_ranks
    table = balanced_table(load, ranks, problem.slots_per_rank, usable_replicas(problem))
    target = np.zeros(problem.num_layers)
    if problem.objective == "balance" and bound is not None:
        total = load.sum(axis=1)
        target = bound * total / float(problem.tokens * problem.top_k)
    table = balance_swaps(load, table, ranks, target)
    if problem.objective == "balance" and bound is not None:
        yield to_placement(problem, deal_pairs(load, table, ranks, target, run))
        count = _spread_counts(problem, target)
        table = lpt_table(load, count, ranks, problem.slots_per_rank)
        table = deal_pairs(load, balance_swaps(load, table, ranks, target), ranks, target, run)
    yield to_placement(problem, table)
    if problem.current is not None:
        yield problem.current
    if problem.groups_on_nodes:
        try:
            hierarchical = load_solver("eplb-hierarchical")(problem, Run(run.seed), None).placement
        except InputError:  # replicas that do not divide
            return
        if hierarchical is not None:
            yield without_duplicates(problem, hierarchical)
    elif problem.objective != "balance" or problem.scenarios:
        left = run.remaining_s()
        limit = None if left is None else max(SHARE * left, 1e-3)
        found = load_solver("auto")(problem, Run(run.seed, limit), None).placement
        if found is not None:
            yield found


def quick_value(problem: Problem) -> NDArray[np.float64]:
    """Return (layers,) the objective of balanced loads, as a scale; positive."""
    load = problem.workload.load
    table = balanced_table(
        load, problem.num_ranks, problem.slots_per_rank, usable_replicas(problem)
    )
    score = evaluate(problem, to_placement(problem, table))
    value: NDArray[np.float64] = np.maximum(score.layer_objective, 1e-30)
    return value


def _spread_counts(problem: Problem, target: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return (layers, experts) replica counts as low as `target` allows, the rest spread out.

    Thirds of a load can make even loads impossible where halves do not.
    """
    load = problem.workload.load
    needed = np.ceil(load / np.maximum(target, 1e-300)[:, None] * (1 - 1e-12))
    count = np.clip(needed, 1, problem.num_ranks).astype(np.int64)
    for layer in range(problem.num_layers):
        spare = usable_replicas(problem) - int(count[layer].sum())
        if spare < 0:  # a target that is out of reach
            count[layer], spare = 1, usable_replicas(problem) - problem.num_experts
        order = np.argsort(-load[layer] / count[layer], kind="stable")
        more = order[count[layer, order] < problem.num_ranks][: max(spare, 0)]
        count[layer, more] += 1
    return count


def _in_slots(problem: Problem, placement: Placement) -> NDArray[np.int32]:
    """Return (layers, slots) the experts of every rank in the problem's slots, without gaps."""
    table = np.full((problem.num_layers, problem.num_slots), -1, np.int32)
    for rank in range(problem.num_ranks):
        held = placement.expert_of_slot[:, placement.rank_of_slot == rank]
        # Occupied slots first: a feasible placement has no more of them than a rank has slots.
        order = np.argsort(held < 0, axis=1, kind="stable")[:, : problem.slots_per_rank]
        start = rank * problem.slots_per_rank
        table[:, start : start + order.shape[1]] = np.take_along_axis(held, order, axis=1)
    return table
