from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from moeplace.formulations.exact.cpsat.variables import Variables


def set_objective(model: Any, variables: Variables) -> None:
    """Minimize the load of the fullest rank."""
    model.minimize(variables.fullest)
