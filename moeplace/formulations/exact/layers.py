"""What the exact backends share: layer after layer, a warm start, the clock, the bounds."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from moeplace.errors import InputError
from moeplace.formulations.bounds.load import max_rank_pairs_bound
from moeplace.formulations.exact.minmax import minmax_layer
from moeplace.formulations.heuristics.balance import balanced_table, max_rank_load
from moeplace.formulations.heuristics.lpt import balance_swaps
from moeplace.formulations.heuristics.tables import to_placement, usable_replicas
from moeplace.formulations.solver import Solved
from moeplace.placement import violations

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from moeplace.formulations.exact.minmax import MinMaxLayer
    from moeplace.formulations.solver import Run
    from moeplace.placement import Placement, Problem

MAX_BINARIES = 60_000  # larger models take longer to build than the search they would replace
SOLVED_GAP = 1e-9
REPORT_EVERY_S = 1.0
SHORTEST_S = 0.05  # a backend is not started for less


@dataclass(frozen=True, eq=False)
class LayerOutcome:
    """What a backend found in one layer.

    Attributes
    ----------
    table
        (ranks, slots) experts, −1 empty; None if it found nothing.
    bound
        Proven lower bound in the unit of the loads, None without one.
    proven
        Whether the backend proved `table` optimal.
    """

    table: NDArray[np.int32] | None
    bound: float | None
    proven: bool


def solve_layers(
    problem: Problem,
    run: Run,
    initial: Placement | None,
    name: str,
    solve_layer: Callable[[MinMaxLayer, NDArray[np.int32], float | None, int], LayerOutcome],
) -> Solved:
    """Solve each layer on its own; the time left is shared equally over the layers left.

    A layer starts from the better of the balance heuristic and `initial`, and keeps it where the
    backend finds nothing better. Layers whose model would be too large, and all after the limit,
    keep the load bound of :mod:`moeplace.formulations.bounds.load`.

    Parameters
    ----------
    problem, run, initial
        As for every solver.
    name
        Of the solver, for messages.
    solve_layer
        The backend: instance, warm (ranks, slots) table, seconds or None, seed.

    Raises
    ------
    InputError
        If the objective is not ``balance`` or the dispatch not ``even``.
    """
    if problem.objective != "balance":
        raise InputError(f"{name} optimizes balance, not {problem.objective!r}")
    if problem.dispatch != "even":
        raise InputError(f"{name} splits a load evenly; dispatch {problem.dispatch!r} is not even")
    # Raw loads: counts are whole numbers, which keeps the integer model exact.
    load, ranks, slots = problem.workload.load, problem.num_ranks, problem.slots_per_rank
    replicas = usable_replicas(problem)
    bound = max_rank_pairs_bound(load, ranks, slots, replicas).value
    table = _warm_start(problem, bound, initial)
    value = max_rank_load(load, table, ranks)
    run.report(to_placement(problem, table))
    reported = time.monotonic()
    proven, limit = True, ""
    for layer in range(problem.num_layers):
        if value[layer] <= bound[layer] * (1 + SOLVED_GAP):
            continue
        left = run.remaining_s()
        seconds = None if left is None else left / (problem.num_layers - layer)
        if seconds is not None and seconds < SHORTEST_S:
            proven, limit = False, "time"
            break
        form = minmax_layer(
            load[layer], ranks, slots, replicas, upper=value[layer], lower=bound[layer]
        )
        if form.num_binaries > MAX_BINARIES:
            proven, limit = False, limit or "size"
            continue
        outcome = solve_layer(form, table[layer].reshape(ranks, slots), seconds, run.seed)
        if outcome.bound is not None:
            bound[layer] = max(bound[layer], outcome.bound)
        if outcome.table is not None:
            found = outcome.table.reshape(1, -1)
            reached = max_rank_load(load[layer : layer + 1], found, ranks)[0]
            if reached < value[layer]:
                table[layer], value[layer] = found[0], reached
                if time.monotonic() - reported > REPORT_EVERY_S:
                    run.report(to_placement(problem, table))
                    reported = time.monotonic()
        if not outcome.proven:
            proven, limit = False, "time"
    total = load.sum(axis=1)
    share = np.divide(bound, total, out=np.zeros_like(bound), where=total > 0)
    return Solved(
        to_placement(problem, table),
        optimal=proven,
        lower_bound=float(share.sum()) * problem.tokens * problem.top_k,
        limit=limit,
    )


def _warm_start(
    problem: Problem, bound: NDArray[np.float64], initial: Placement | None
) -> NDArray[np.int32]:
    """Return (layers, slots): per layer the better of the heuristic and a feasible `initial`."""
    load, ranks = problem.workload.load, problem.num_ranks
    table = balanced_table(load, ranks, problem.slots_per_rank, usable_replicas(problem))
    table = balance_swaps(load, table, ranks, bound)
    if initial is None or violations(problem, initial):
        return table
    given = np.full_like(table, -1)
    for rank in range(ranks):
        held = initial.expert_of_slot[:, initial.rank_of_slot == rank]
        # Occupied slots first: a feasible placement has no more of them than a rank has slots.
        order = np.argsort(held < 0, axis=1, kind="stable")[:, : problem.slots_per_rank]
        start = rank * problem.slots_per_rank
        given[:, start : start + order.shape[1]] = np.take_along_axis(held, order, axis=1)
    better = max_rank_load(load, given, ranks) < max_rank_load(load, table, ranks)
    table[better] = given[better]
    return table
