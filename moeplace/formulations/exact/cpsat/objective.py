from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from moeplace.formulations.exact.linear_model import LinearModel

NEAR = 1e-9


def set_objective(
    model: Any, program: LinearModel, scale: NDArray[np.float64], variables: list[Any]
) -> float:
    """Minimize the costs in whole numbers; return whole numbers per unit of the objective.

    Coefficients of whole variables are taken as they are where they are whole, else rounded down
    at 2^30 per unit.
    """
    from ortools.sat.python import cp_model

    column = np.flatnonzero(program.objective)
    cost = program.objective[column] / scale[column]
    factor = float(scale[column].max(initial=1.0))
    if np.abs(cost * factor - np.rint(cost * factor)).max(initial=0.0) > NEAR:
        factor *= 2.0**30
    whole = np.floor(cost * factor + NEAR).astype(np.int64)
    model.minimize(cp_model.LinearExpr.weighted_sum([variables[j] for j in column], whole.tolist()))
    return factor
