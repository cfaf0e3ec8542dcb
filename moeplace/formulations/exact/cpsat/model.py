"""Min-max load with replication by CP-SAT, in whole numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from moeplace.errors import BackendMissingError
from moeplace.formulations.exact.cpsat.constraints import add_constraints
from moeplace.formulations.exact.cpsat.objective import set_objective
from moeplace.formulations.exact.cpsat.variables import create_variables
from moeplace.formulations.exact.layers import LayerOutcome, solve_layers

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from moeplace.formulations.exact.cpsat.variables import Variables
    from moeplace.formulations.exact.minmax import MinMaxLayer
    from moeplace.formulations.solver import Run, Solved
    from moeplace.placement import Placement, Problem

ROUNDING = 1e-12  # relative margin of bounds that are turned back into floats
WORKERS = 1  # one search thread: the same seed gives the same placement


def solve(problem: Problem, run: Run, initial: Placement | None) -> Solved:
    """Prove min-max load optimal, layer by layer; see :func:`..layers.solve_layers`.

    Whole-number loads are exact as long as load × lcm of the replica counts stays below 2^53;
    larger or fractional ones are scaled to a sum of 2^44 and rounded down, so that the bound stays
    valid.
    """
    return solve_layers(problem, run, initial, "exact-cpsat", _solve_layer)


def _solve_layer(
    form: MinMaxLayer, warm: NDArray[np.int32], seconds: float | None, seed: int
) -> LayerOutcome:
    try:
        from ortools.sat.python import cp_model
    except ImportError as error:
        raise BackendMissingError("exact-cpsat needs ortools: pip install ortools") from error

    model = cp_model.CpModel()
    variables = create_variables(model, form)
    add_constraints(model, form, variables)
    set_objective(model, variables)
    _hint(model, form, variables, warm)
    solver = cp_model.CpSolver()
    solver.parameters.num_workers = WORKERS
    solver.parameters.random_seed = seed
    if seconds is not None:
        solver.parameters.max_time_in_seconds = seconds
    status = solver.solve(model)
    bound = solver.best_objective_bound / variables.scale * (1 - ROUNDING)
    if status not in (cp_model.OPTIMAL, cp_model.FEASIBLE):
        return LayerOutcome(None, bound if status == cp_model.UNKNOWN else None, False)
    on = np.array(
        [[x is not None and solver.boolean_value(x) for x in row] for row in variables.on], bool
    )
    return LayerOutcome(form.table(on), bound, status == cp_model.OPTIMAL)


def _hint(model: Any, form: MinMaxLayer, variables: Variables, warm: NDArray[np.int32]) -> None:
    on = form.hint(warm)
    for i, row in enumerate(variables.on):
        model.add_hint(variables.chosen[i], bool(on[i].any()))
        for rank, x in enumerate(row):
            if x is not None:
                model.add_hint(x, bool(on[i, rank]))
