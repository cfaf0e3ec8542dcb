from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from moeplace.formulations.exact.linear_model import LinearModel


def add_constraints(model: Any, program: LinearModel, variables: list[Any]) -> None:
    """Add the rows to a PuLP model, each expression made from its list of terms at once."""
    import pulp

    matrix = program.matrix
    start, column, value = (a.tolist() for a in (matrix.indptr, matrix.indices, matrix.data))
    lower, upper = program.row_lower.tolist(), program.row_upper.tolist()
    for number in range(program.num_rows):
        here = slice(start[number], start[number + 1])
        terms = list(zip([variables[j] for j in column[here]], value[here], strict=True))
        if not terms:
            continue
        limits = [(pulp.LpConstraintGE, lower[number]), (pulp.LpConstraintLE, upper[number])]
        if lower[number] == upper[number]:
            limits = [(pulp.LpConstraintEQ, upper[number])]
        for side, (sense, limit) in enumerate(limits):
            if np.isfinite(limit):
                name = f"r{number}_{side}"
                row = pulp.LpConstraint(pulp.LpAffineExpression(terms), sense, name, limit)
                model.addConstraint(row, name)
