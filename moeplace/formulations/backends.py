"""Which solver backends work in this environment, found out by using them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


def check_backends() -> dict[str, tuple[bool, str]]:
    """Solve a tiny model with every backend, all in this process.

    Returns
    -------
    dict
        By backend: whether it works, and the solver's name and version or what went wrong.
        ``highs beside ortools`` is SciPy's HiGHS after OR-Tools is loaded, which not every pair
        of builds survives (or-tools issue 5246).
    """
    checks: dict[str, Callable[[], str]] = {
        "ortools CP-SAT": _cpsat,
        "PuLP CBC": _cbc,
        "SciPy HiGHS beside ortools": _highs,
    }
    found = {}
    for name, check in checks.items():
        try:
            found[name] = (True, check())
        except Exception as error:
            found[name] = (False, f"{type(error).__name__}: {' '.join(str(error).split())}")
    return found


def _cpsat() -> str:
    import ortools
    from ortools.sat.python import cp_model

    model = cp_model.CpModel()
    x = model.new_int_var(0, 9, "x")
    model.minimize(x)
    solver = cp_model.CpSolver()
    if solver.solve(model) != cp_model.OPTIMAL:
        raise RuntimeError("it did not solve a model of one variable")
    return f"OR-Tools {ortools.__version__}"


def _cbc() -> str:
    import pulp

    cbc = pulp.PULP_CBC_CMD(msg=False)
    if not cbc.available():
        raise RuntimeError("PuLP comes without the CBC solver here; install pulp<4")
    model = pulp.LpProblem("check", pulp.LpMinimize)
    x = pulp.LpVariable("x", lowBound=1)
    model += x
    model.solve(cbc)
    if pulp.LpStatus[model.status] != "Optimal":
        raise RuntimeError("CBC did not solve a model of one variable")
    return f"PuLP {pulp.__version__}"


def _highs() -> str:
    import scipy
    from scipy.optimize import milp

    if not milp([1.0], integrality=[1]).success:
        raise RuntimeError("HiGHS did not solve a model of one variable")
    return f"SciPy {scipy.__version__}"
