"""Programs by PuLP and CBC."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from moeplace.errors import BackendMissingError
from moeplace.formulations.exact.layers import solve_layers
from moeplace.formulations.exact.outcome import Outcome
from moeplace.formulations.exact.pulp.constraints import add_constraints
from moeplace.formulations.exact.pulp.objective import set_objective
from moeplace.formulations.exact.pulp.variables import create_variables

if TYPE_CHECKING:
    from moeplace.formulations.exact.linear_model import LinearModel
    from moeplace.formulations.exact.outcome import Hint
    from moeplace.formulations.solver import Run, Solved
    from moeplace.placement import Placement, Problem

# CBC computes in floats: a bound is taken down by this share, well above its tolerances as set
# below and below the gap that counts as optimal (1e-6).
SAFETY = 5e-7
GAP = 1e-9
TOLERANCES = ("primalTolerance 1e-9", "dualTolerance 1e-9", "integerTolerance 1e-9")
CUTOFF_STEP = "increment 1e-9"  # CBC prunes what is not better by this


def solve(problem: Problem, run: Run, initial: Placement | None) -> Solved:
    """Prove optimality by PuLP and CBC; see :func:`..layers.solve_layers`."""
    return solve_layers(problem, run, initial, "exact-pulp", minimize)


def minimize(model: LinearModel, hint: Hint | None, seconds: float | None, seed: int) -> Outcome:
    """Minimize a program by CBC, started from the hint."""
    try:
        import pulp
    except ImportError as error:
        raise BackendMissingError("exact-pulp needs PuLP: pip install 'pulp<4'") from error

    program = pulp.LpProblem("program", pulp.LpMinimize)
    variables = create_variables(model)
    set_objective(program, model, variables)
    add_constraints(program, model, variables)
    if hint is not None:
        for column, value in zip(hint[0].tolist(), hint[1].tolist(), strict=True):
            variables[column].setInitialValue(value)
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "cbc.log"
        solver = pulp.PULP_CBC_CMD(
            msg=False,
            timeLimit=seconds,
            gapRel=GAP,
            warmStart=hint is not None,
            logPath=str(log),
            # Seed 0 would mean the time of day. `threads 1` makes CBC 2.10 wait 10 s at the root.
            options=[*TOLERANCES, CUTOFF_STEP, f"randomSeed {seed + 1}", f"randomCbcSeed {seed}"],
        )
        if not solver.available():
            raise BackendMissingError("exact-pulp needs CBC, which PuLP 2 and 3 bring along")
        solver.tmpDir = folder
        try:
            program.solve(solver)
        except pulp.PulpSolverError:  # CBC died: nothing is known
            return Outcome(None, None, False)
        text = log.read_text(encoding="utf-8", errors="replace") if log.exists() else ""
    return _outcome(program, model, variables, text, hint is not None)


def _outcome(
    model: Any, program: LinearModel, variables: list[Any], log: str, known: bool
) -> Outcome:
    import pulp

    if model.sol_status == pulp.LpSolutionInfeasible:  # with a known solution that cannot be
        return Outcome(None, None, not known, infeasible=not known)
    proven = model.sol_status == pulp.LpSolutionOptimal
    if model.sol_status not in (pulp.LpSolutionOptimal, pulp.LpSolutionIntegerFeasible):
        return Outcome(None, _stopped_bound(log), False)
    values = np.array([v.value() or 0.0 for v in variables])
    bound = float(program.objective @ values) * (1 - SAFETY) if proven else _stopped_bound(log)
    return Outcome(values, bound, proven)


def _stopped_bound(log: str) -> float | None:
    """Return the bound that CBC prints when it stops early."""
    found = re.findall(r"^Lower bound:\s+(\S+)", log, flags=re.MULTILINE)
    return float(found[-1]) * (1 - SAFETY) if found else None
