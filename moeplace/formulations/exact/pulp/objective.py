from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from moeplace.formulations.exact.linear_model import LinearModel


def set_objective(model: Any, program: LinearModel, variables: list[Any]) -> None:
    """Minimize the costs."""
    import pulp

    column = np.flatnonzero(program.objective)
    cost = program.objective[column].tolist()
    terms = zip([variables[j] for j in column.tolist()], cost, strict=True)
    model.setObjective(pulp.LpAffineExpression(list(terms)))
