from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from moeplace.formulations.exact.linear_model import LinearModel


def set_objective(model: LinearModel) -> dict[str, Any]:
    """Return the costs for ``scipy.optimize.milp``."""
    return {"c": model.objective}
