from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from moeplace.formulations.exact.linear_model import LinearModel


def add_constraints(model: LinearModel) -> dict[str, Any]:
    """Return the rows for ``scipy.optimize.milp``."""
    from scipy.optimize import LinearConstraint

    if not model.num_rows:
        return {}
    return {"constraints": LinearConstraint(model.matrix, model.row_lower, model.row_upper)}
