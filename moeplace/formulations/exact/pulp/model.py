"""Min-max load with replication by PuLP and CBC."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from moeplace.errors import BackendMissingError
from moeplace.formulations.exact.layers import LayerOutcome, solve_layers
from moeplace.formulations.exact.pulp.constraints import add_constraints
from moeplace.formulations.exact.pulp.objective import set_objective
from moeplace.formulations.exact.pulp.variables import create_variables

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from moeplace.formulations.exact.minmax import MinMaxLayer
    from moeplace.formulations.exact.pulp.variables import Variables
    from moeplace.formulations.solver import Run, Solved
    from moeplace.placement import Placement, Problem

# CBC computes in floats: a bound is taken down by this share, well above its tolerances as set
# below and well below the gap that counts as optimal (1e-6).
SAFETY = 5e-7
GAP = 1e-9
TOLERANCES = ("primalTolerance 1e-9", "dualTolerance 1e-9", "integerTolerance 1e-9")
CUTOFF_STEP = "increment 1e-9"  # CBC prunes what is not better by this


def solve(problem: Problem, run: Run, initial: Placement | None) -> Solved:
    """Prove min-max load optimal, layer by layer; see :func:`..layers.solve_layers`."""
    return solve_layers(problem, run, initial, "exact-pulp", _solve_layer)


def _solve_layer(
    form: MinMaxLayer, warm: NDArray[np.int32], seconds: float | None, seed: int
) -> LayerOutcome:
    try:
        import pulp
    except ImportError as error:
        raise BackendMissingError("exact-pulp needs PuLP: pip install 'pulp<4'") from error

    model = pulp.LpProblem("minmax", pulp.LpMinimize)
    variables = create_variables(form)
    set_objective(model, variables)
    add_constraints(model, form, variables)
    _hint(form, variables, warm)
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "cbc.log"
        solver = pulp.PULP_CBC_CMD(
            msg=False,
            timeLimit=seconds,
            gapRel=GAP,
            warmStart=True,
            logPath=str(log),
            # Seed 0 would mean the time of day. `threads 1` makes CBC 2.10 wait 10 s at the root.
            options=[*TOLERANCES, CUTOFF_STEP, f"randomSeed {seed + 1}", f"randomCbcSeed {seed}"],
        )
        if not solver.available():
            raise BackendMissingError("exact-pulp needs CBC, which PuLP 2 and 3 bring along")
        solver.tmpDir = folder
        try:
            model.solve(solver)
        except pulp.PulpSolverError:  # CBC died: the layer keeps its warm start and load bound
            return LayerOutcome(None, None, False)
        text = log.read_text(encoding="utf-8", errors="replace") if log.exists() else ""
    proven = model.sol_status == pulp.LpSolutionOptimal
    if model.sol_status not in (pulp.LpSolutionOptimal, pulp.LpSolutionIntegerFeasible):
        return LayerOutcome(None, _stopped_bound(text, variables.scale), False)
    on = np.array(
        [[x is not None and (x.value() or 0.0) > 0.5 for x in row] for row in variables.on], bool
    )
    bound = (
        float(variables.fullest.value()) / variables.scale * (1 - SAFETY)
        if proven
        else _stopped_bound(text, variables.scale)
    )
    return LayerOutcome(form.table(on), bound, proven)


def _stopped_bound(log: str, scale: float) -> float | None:
    """Return the bound that CBC prints when it stops early, in the unit of the loads."""
    found = re.findall(r"^Lower bound:\s+(\S+)", log, flags=re.MULTILINE)
    return float(found[-1]) / scale * (1 - SAFETY) if found else None


def _hint(form: MinMaxLayer, variables: Variables, warm: NDArray[np.int32]) -> None:
    on = form.hint(warm)
    for i, row in enumerate(variables.on):
        variables.chosen[i].setInitialValue(int(on[i].any()))
        for rank, x in enumerate(row):
            if x is not None:
                x.setInitialValue(int(on[i, rank]))
    variables.fullest.setInitialValue(form.upper * variables.scale)
