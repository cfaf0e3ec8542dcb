"""Programs by CP-SAT, in whole numbers that never overstate the optimum."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from moeplace.errors import BackendMissingError
from moeplace.formulations.exact.cpsat.constraints import add_constraints, whole_rows
from moeplace.formulations.exact.cpsat.objective import set_objective
from moeplace.formulations.exact.cpsat.variables import create_variables, scales
from moeplace.formulations.exact.layers import solve_layers
from moeplace.formulations.exact.outcome import Outcome

if TYPE_CHECKING:
    from moeplace.formulations.exact.linear_model import LinearModel
    from moeplace.formulations.exact.outcome import Hint
    from moeplace.formulations.solver import Run, Solved
    from moeplace.placement import Placement, Problem

ROUNDING = 1e-9  # relative margin of bounds that are turned back into floats
GAP = 1e-8
WORKERS = 1  # one search thread: the same seed gives the same placement


def solve(problem: Problem, run: Run, initial: Placement | None) -> Solved:
    """Prove optimality by CP-SAT; see :func:`..layers.solve_layers`."""
    return solve_layers(problem, run, initial, "exact-cpsat", minimize)


def minimize(model: LinearModel, hint: Hint | None, seconds: float | None, seed: int) -> Outcome:
    """Minimize a program in whole numbers.

    Where all costs are multiples of a known number they are exact. Elsewhere they are rounded
    such that the whole-number optimum lies below the program's, by a share of about 1e-8.
    """
    try:
        from ortools.sat.python import cp_model
    except ImportError as error:
        raise BackendMissingError("exact-cpsat needs ortools: pip install ortools") from error

    scale = scales(model)
    whole = cp_model.CpModel()
    variables = create_variables(whole, model, scale)
    add_constraints(whole, whole_rows(model, scale), variables)
    factor = set_objective(whole, model, scale, variables)
    if hint is not None:
        for column, value in zip(hint[0].tolist(), hint[1].tolist(), strict=True):
            whole.add_hint(variables[column], round(value * float(scale[column])))
    solver = cp_model.CpSolver()
    solver.parameters.num_workers = WORKERS
    solver.parameters.random_seed = seed
    solver.parameters.relative_gap_limit = 0.0 if model.grain else GAP
    # Presolve of OR-Tools 9.15 calls some feasible programs infeasible (or-tools issue 5274), one
    # in 15 of the small ones with several costs in tests/formulations/exact.
    solver.parameters.cp_model_presolve = False
    solver.parameters.cp_model_probing_level = 0
    if seconds is not None:
        solver.parameters.max_time_in_seconds = seconds
    status = solver.solve(whole)
    if status == cp_model.INFEASIBLE:  # with a known solution that cannot be
        return Outcome(None, None, hint is None, infeasible=hint is None)
    bound = solver.best_objective_bound / factor * (1 - ROUNDING)
    if status not in (cp_model.OPTIMAL, cp_model.FEASIBLE):
        return Outcome(None, bound if status == cp_model.UNKNOWN else None, False)
    values = np.array([solver.value(v) for v in variables]) / scale
    return Outcome(values, bound, status == cp_model.OPTIMAL)
