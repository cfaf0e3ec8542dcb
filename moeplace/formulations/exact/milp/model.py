"""Programs by HiGHS as SciPy ships it, straight from the arrays."""

from __future__ import annotations

from typing import TYPE_CHECKING

from moeplace.formulations.exact.layers import solve_layers
from moeplace.formulations.exact.milp.constraints import add_constraints
from moeplace.formulations.exact.milp.objective import set_objective
from moeplace.formulations.exact.milp.variables import create_variables
from moeplace.formulations.exact.outcome import Outcome

if TYPE_CHECKING:
    from moeplace.formulations.exact.linear_model import LinearModel
    from moeplace.formulations.exact.outcome import Hint
    from moeplace.formulations.solver import Run, Solved
    from moeplace.placement import Placement, Problem

# HiGHS computes in floats (tolerances 1e-6 and 1e-7): a bound is taken down by this share, below
# the gap that counts as optimal (1e-6).
SAFETY = 5e-7
GAP = 1e-8
OPTIMAL, LIMIT, INFEASIBLE = 0, 1, 2


def solve(problem: Problem, run: Run, initial: Placement | None) -> Solved:
    """Prove optimality by HiGHS; see :func:`..layers.solve_layers`."""
    return solve_layers(problem, run, initial, "exact-milp", minimize)


def minimize(model: LinearModel, hint: Hint | None, seconds: float | None, seed: int) -> Outcome:
    """Minimize a program; HiGHS takes neither a start nor a seed through SciPy."""
    from scipy.optimize import milp

    options: dict[str, float] = {"mip_rel_gap": GAP}
    if seconds is not None:
        options["time_limit"] = seconds
    found = milp(
        **set_objective(model),
        **create_variables(model),
        **add_constraints(model),
        options=options,
    )
    bound = found.get("mip_dual_bound")
    bound = None if bound is None else float(bound) * (1 - SAFETY)
    if found.status == INFEASIBLE:  # with a known solution that cannot be
        return Outcome(None, None, hint is None, infeasible=hint is None)
    return Outcome(found.x, bound, found.status == OPTIMAL)
