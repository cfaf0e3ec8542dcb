"""The mapping problem by HiGHS and by CP-SAT, for few ranks; both obey the rule about sizes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from moeplace.errors import LimitError
from moeplace.formulations.chain.instance import ChainResult
from moeplace.formulations.chain.linear import chain_model

if TYPE_CHECKING:
    from moeplace.formulations.chain.instance import ChainInstance

MARGIN = 1e-6  # of a floating-point bound, given away
STEPS = 2**40  # CP-SAT counts in whole steps: the largest cost there can be, at most


def solve_milp(instance: ChainInstance, time_limit_s: float | None = None) -> ChainResult:
    """Solve with HiGHS (``scipy.optimize.milp``).

    Raises
    ------
    LimitError
        If no mapping was found within the limit, or none obeys the rule about sizes.
    """
    from scipy.optimize import Bounds, LinearConstraint, milp

    model = chain_model(instance)
    constraints = [LinearConstraint(model.equal, model.right, model.right)]
    if model.num_z:
        constraints.append(LinearConstraint(model.above, 0.0, np.inf))
    upper = np.ones(model.cost.size)
    upper[model.num_y + model.num_w :] = np.inf
    integral = np.zeros(model.cost.size)
    integral[: model.num_y] = 1  # w follows from y
    options: dict[str, float] = {"mip_rel_gap": 0.0}
    if time_limit_s is not None:
        options["time_limit"] = time_limit_s
    solved = milp(
        model.cost, constraints=constraints, bounds=Bounds(0.0, upper), integrality=integral,
        options=options,
    )  # fmt: skip
    if solved.x is None:
        raise LimitError(f"chain: HiGHS found no mapping ({solved.message}); allow it more time")
    labels = model.labels(solved.x, instance.num_layers, instance.num_ranks)
    cost = instance.cost(labels)
    bound = getattr(solved, "mip_dual_bound", None)
    proven = solved.status == 0
    low = cost if proven else 0.0 if bound is None else float(bound) * (1 - MARGIN)
    return ChainResult(labels, cost, max(0.0, min(low, cost)), "milp")


def solve_cpsat(
    instance: ChainInstance, time_limit_s: float | None = None, *, seed: int = 0, workers: int = 1
) -> ChainResult:
    """Solve with CP-SAT; costs are rounded down to whole steps, so that its bound stays one.

    Raises
    ------
    LimitError
        If no mapping was found within the limit, or none obeys the rule about sizes.
    """
    from ortools.sat.python import cp_model

    model = chain_model(instance)
    largest = float(instance.flow.sum() * instance.distance.max())
    scale = STEPS / largest if largest > 0 else 1.0
    cp = cp_model.CpModel()
    binaries = model.num_y + model.num_w
    x = [cp.new_bool_var("") for _ in range(binaries)]
    x += [cp.new_int_var(0, STEPS, "") for _ in range(model.num_z)]
    for row in range(model.equal.shape[0]):
        span = slice(model.equal.indptr[row], model.equal.indptr[row + 1])
        terms = [x[i] for i in model.equal.indices[span]]
        weights = [round(v) for v in model.equal.data[span]]
        cp.add(cp_model.LinearExpr.weighted_sum(terms, weights) == round(model.right[row]))
    for row in range(model.above.shape[0]):
        span = slice(model.above.indptr[row], model.above.indptr[row + 1])
        pairs = list(zip(model.above.indices[span], model.above.data[span], strict=True))
        terms = [x[i] for i, _ in pairs]
        weights = [1 if i >= binaries else -int(-v * scale) for i, v in pairs]
        cp.add(cp_model.LinearExpr.weighted_sum(terms, weights) >= 0)
    used = np.flatnonzero(model.cost)
    steps = [1 if i >= binaries else int(model.cost[i] * scale) for i in used]
    cp.minimize(cp_model.LinearExpr.weighted_sum([x[i] for i in used], steps))
    solver = cp_model.CpSolver()
    solver.parameters.num_workers = workers
    solver.parameters.random_seed = seed
    if time_limit_s is not None:
        solver.parameters.max_time_in_seconds = time_limit_s
    status = solver.solve(cp)
    if status not in (cp_model.OPTIMAL, cp_model.FEASIBLE):
        raise LimitError(
            f"chain: CP-SAT found no mapping ({solver.status_name(status)}); allow it more time"
        )
    values = np.array([float(solver.value(v)) for v in x[: model.num_y]])
    labels = model.labels(values, instance.num_layers, instance.num_ranks)
    cost = instance.cost(labels)
    low = float(solver.best_objective_bound) / scale if used.size else 0.0
    return ChainResult(labels, cost, max(0.0, min(low, cost)), "cp-sat")
