"""What the exact solvers share: layer after layer, a warm start, the clock, the bounds."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from moeplace.clock import lose, monotonic
from moeplace.errors import InfeasibleError
from moeplace.formulations.bounds.lower_bound import lower_bound
from moeplace.formulations.exact.formulation import check_exact, estimated_size, formulate
from moeplace.formulations.exact.start import best_start
from moeplace.formulations.exact.symmetry import rank_symmetry
from moeplace.formulations.flow.transport import cheapest_assignment, linear_rank_cost
from moeplace.formulations.heuristics.tables import to_placement
from moeplace.formulations.solver import Solved
from moeplace.placement import evaluate, violations

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from moeplace.formulations.exact.outcome import Backend
    from moeplace.formulations.solver import Run
    from moeplace.placement import Placement, Problem

MAX_ENTRIES = 2_000_000  # larger programs take longer than the search they would replace
SOLVED_GAP = 1e-9
REPORT_EVERY_S = 1.0
SHORTEST_S = 0.05  # a backend is not started for less


def solve_layers(
    problem: Problem, run: Run, initial: Placement | None, name: str, backend: Backend
) -> Solved:
    """Solve each layer on its own; the time left is shared equally over the layers left.

    A layer starts from the better of the heuristics and `initial`, and keeps it where the backend
    finds nothing better. Layers whose program would be too large, and all after the limit, keep
    the bound of :func:`moeplace.lower_bound`. Under risk ``max`` or ``cvar`` over scenarios the
    layers are decided together.

    Parameters
    ----------
    problem, run, initial
        As for every solver.
    name
        Of the solver, for messages.
    backend
        Minimizes a program.

    Raises
    ------
    InputError
        If the problem has something that the programs do not model.
    InfeasibleError
        If it is proven that no placement keeps all rules.
    """
    check_exact(problem, name)
    parts = problem_parts(problem)
    together = _together(problem)
    known = lower_bound(problem)
    bound = np.array([known.value]) if together else known.layer_value.astype(float).copy()
    if (cost := linear_rank_cost(problem)) is not None:
        least = cheapest_assignment(cost, problem.slots_per_rank).value
        bound = np.maximum(bound, least * (1 - SOLVED_GAP / 2))
    start = best_start(problem, run, initial, bound, separable=not together)
    table, feasible = start.table, start.feasible
    value = _values(problem, table, together)
    if feasible:
        run.report(to_placement(problem, table))
    reported = monotonic()
    proven, limit, symmetry = True, "", None
    for number, layers in enumerate(parts):
        if feasible and value[number] <= bound[number] * (1 + SOLVED_GAP):
            continue
        left = run.remaining_s()
        seconds = None if left is None else left / (len(parts) - number)
        if seconds is not None and seconds < SHORTEST_S:
            proven, limit = False, "time"
            break
        if estimated_size(problem, layers) > MAX_ENTRIES:
            proven, limit = False, limit or "size"
            continue
        symmetry = symmetry or rank_symmetry(problem)
        form = formulate(
            problem,
            layers,
            symmetry,
            upper=float(value[number]) if feasible else None,
            lower=float(bound[number]),
            scale=float(value[number]),
        )
        ranks = (problem.num_ranks, problem.slots_per_rank)
        hint = form.hint([table[layer].reshape(ranks) for layer in layers]) if feasible else None
        outcome = backend(form.model, hint, seconds, run.seed)
        if outcome.infeasible and not feasible:
            raise InfeasibleError(
                f"{name} proved that no placement keeps the problem's rules; allow more slots, "
                "moves or load"
            )
        if outcome.bound is not None:
            bound[number] = max(bound[number], outcome.bound * form.unit)
        if outcome.values is not None:
            candidate = table.copy()
            for layer, found in zip(layers, form.tables(outcome.values), strict=True):
                candidate[layer] = found.ravel()
            better = _values(problem, candidate, together)
            if not feasible or better[number] < value[number]:
                table, value = candidate, better
                if feasible and monotonic() - reported > REPORT_EVERY_S:
                    run.report(to_placement(problem, table))
                    reported = monotonic()
        elif not feasible:
            proven = False
        if not outcome.proven:
            proven, limit = False, "time"
            lose(f"{name} stopped at its own time limit")
    placement = to_placement(problem, table)
    complete = not violations(problem, placement)
    return Solved(
        placement if complete else None,
        optimal=proven and complete,
        lower_bound=float(bound.sum()),
        limit=limit,
    )


def problem_parts(problem: Problem) -> list[list[int]]:
    """Return the layers that are decided together: one by one unless a risk couples them."""
    everything = list(range(problem.num_layers))
    return [everything] if _together(problem) else [[layer] for layer in everything]


def _together(problem: Problem) -> bool:
    return bool(problem.scenarios) and problem.risk != "mean"


def _values(problem: Problem, table: NDArray[np.int32], together: bool) -> NDArray[np.float64]:
    """Return (parts,) the objective of each part."""
    score = evaluate(problem, to_placement(problem, table))
    return np.array([score.objective]) if together else score.layer_objective
