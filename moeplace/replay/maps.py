"""Maps made at once from loads: contiguous, EPLB's, and the best of several by modelled time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from moeplace.errors import UsageError
from moeplace.placement import Placement

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from moeplace.placement import Problem
    from moeplace.replay.policy import Bench

STARTS = ("contiguous", "eplb", "eplb-global", "moeplace")
RULES = ("auto", "global")


def start_table(bench: Bench, load: NDArray[np.float64], start: str) -> NDArray[np.int32]:
    """Return the first map of a policy: ``contiguous``, ``eplb``, ``eplb-global``, ``moeplace``.

    Raises
    ------
    UsageError
        If there is no such start.
    """
    if start == "contiguous":
        return contiguous_table(bench.problem)
    if start in ("eplb", "eplb-global"):
        return eplb_table(bench.problem, load, "auto" if start == "eplb" else "global")
    if start == "moeplace":
        return best_table(bench, load)
    raise UsageError(f"a map cannot start {start!r}; use {', '.join(STARTS)}")


def contiguous_table(problem: Problem) -> NDArray[np.int32]:
    """Return (layers, ranks, slots): experts in order, no replicas (expert parallelism)."""
    from moeplace.formulations.heuristics import simple

    experts = problem.num_experts
    table = simple.contiguous_table(
        problem.num_layers, experts, experts, problem.num_ranks, problem.slots_per_rank
    )
    return table.reshape(problem.num_layers, problem.num_ranks, -1)


def eplb_table(
    problem: Problem, load: NDArray[np.float64], rule: str = "auto"
) -> NDArray[np.int32]:
    """Return EPLB's map of the loads, (layers, ranks, slots).

    Parameters
    ----------
    problem
        Slots, groups and nodes.
    load
        (layers, experts) in any unit.
    rule
        ``auto``: hierarchical where the groups divide over the nodes, else global; ``global``:
        compiled, about 0.05 ms a layer.

    Raises
    ------
    UsageError
        If there is no such rule.
    """
    from moeplace.formulations.heuristics.eplb import eplb, eplb_is_uneven
    from moeplace.formulations.heuristics.tables import usable_replicas
    from moeplace.formulations.solver import Run

    if rule not in RULES:
        raise UsageError(f"EPLB has no rule {rule!r}; use {', '.join(RULES)}")
    nodes, groups = problem.system.num_nodes, problem.model.n_group
    is_global = rule == "global" or nodes == 1 or groups % nodes != 0
    layers, ranks, slots = problem.num_layers, problem.num_ranks, problem.slots_per_rank
    if is_global and not eplb_is_uneven(problem):
        from moeplace.formulations.heuristics.eplb_kernels import eplb_layer

        filled = usable_replicas(problem) // ranks
        table = np.full((layers, ranks, filled), -1, np.int32)
        weight = load.astype(np.float32)
        for layer in range(layers):
            eplb_layer(weight[layer], table[layer])
        wide = np.full((layers, ranks, slots), -1, np.int32)
        wide[:, :, :filled] = table
        return wide
    workload = problem.workload.replace(
        load=load, token_sets=None, token_sets_kind=None, transition_counts=None, anchored=None
    )
    placement = eplb(problem.replace(workload=workload), Run(), None).placement
    if placement is None:
        raise AssertionError("EPLB always gives a map")
    return placement.expert_of_slot.reshape(layers, ranks, slots).copy()


def best_table(bench: Bench, load: NDArray[np.float64]) -> NDArray[np.int32]:
    """Return the map with the smallest modelled time in every layer, of several.

    Candidates: EPLB's, well balanced with all replicas, with half of the redundant ones, and with
    none.
    """
    problem = bench.problem
    candidates = [contiguous_table(problem), eplb_table(problem, load)]
    candidates += [
        balanced(problem, load, redundant)
        for redundant in sorted({problem.redundant, problem.redundant // 2, 0})
    ]
    return _finished(bench, load, candidates)


def oracle_table(bench: Bench, load: NDArray[np.float64]) -> NDArray[np.int32]:
    """Return a good map for loads that are known, in the fewest calls.

    With redundant experts balanced maps with all of them and with none; the better one a layer.
    """
    problem = bench.problem
    candidates = [
        balanced(problem, load, redundant) for redundant in sorted({problem.redundant, 0})
    ]
    if len(candidates) == 1 and not bench.scorer.training:
        return candidates[0]
    return _finished(bench, load, candidates)


def _finished(
    bench: Bench, load: NDArray[np.float64], candidates: list[NDArray[np.int32]]
) -> NDArray[np.int32]:
    """Return the cheapest candidate of every layer; in training also shared slots, improved."""
    if not bench.scorer.training:
        return cheapest(bench, load, candidates)
    from moeplace.replay.improver import Improver

    candidates = [*candidates, proportional_table(bench.problem, load)]
    best = cheapest(bench, load, candidates)
    improver = Improver(bench)
    return cheapest(
        bench, load, [best, *(improver.improved(load, table)[0] for table in candidates)]
    )


def proportional_table(problem: Problem, load: NDArray[np.float64]) -> NDArray[np.int32]:
    """Return (layers, ranks, slots) slots in proportion to loads, an expert's side by side."""
    layers, total = load.shape[0], problem.num_slots
    table = np.empty((layers, total), np.int32)
    for layer in range(layers):
        count = proportional(load[layer], total)
        table[layer] = np.repeat(np.arange(problem.num_experts, dtype=np.int32), count)
    return table.reshape(layers, problem.num_ranks, -1)


def placement_of(table: NDArray[np.int32], problem: Problem) -> Placement:
    """Return (layers, ranks, slots) experts as a placement of the problem's layers."""
    layers, ranks, width = table.shape
    return Placement(
        table.reshape(layers, -1),
        np.repeat(np.arange(ranks, dtype=np.int32), width),
        problem.num_experts,
        ranks,
        problem.workload.layer_ids,
    )


def cheapest(
    bench: Bench, load: NDArray[np.float64], candidates: list[NDArray[np.int32]]
) -> NDArray[np.int32]:
    """Return, layer by layer, the candidate with the smallest modelled time."""
    seconds = np.array([bench.scorer.times(load, table).total_s for table in candidates])
    chosen = seconds.argmin(axis=0)
    rows = np.arange(load.shape[0])
    return np.ascontiguousarray(np.array(candidates)[chosen, rows])


def balanced(problem: Problem, load: NDArray[np.float64], redundant: int) -> NDArray[np.int32]:
    """Return a map whose fullest rank is as light as quick search makes it."""
    from moeplace.formulations.heuristics.balance import balanced_table

    table = balanced_table(
        load, problem.num_ranks, problem.slots_per_rank, problem.num_experts + redundant, tries=0
    )
    return table.reshape(load.shape[0], problem.num_ranks, -1)


def proportional(load: NDArray[np.float64], total: int) -> NDArray[np.int64]:
    """Return (experts,) whole numbers in proportion to loads, at least 1, with the sum `total`.

    One each first; the others go to the largest load · (total − experts) / sum by whole parts, then
    by largest remainders, ties to the lower number.
    """
    spare = total - load.size
    whole = float(load.sum())
    wanted = load / whole * total if whole > 0 else np.full(load.size, total / load.size)
    above = np.maximum(wanted - 1.0, 0.0)
    scale = above.sum()
    exact = above * (spare / scale) if scale > 0 else np.full(load.size, spare / load.size)
    count: NDArray[np.int64] = 1 + np.floor(exact).astype(np.int64)
    left = total - int(count.sum())
    count[np.argsort(-(exact - np.floor(exact)), kind="stable")[:left]] += 1
    return count
