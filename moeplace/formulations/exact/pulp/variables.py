from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from moeplace.formulations.exact.linear_model import INTEGER

if TYPE_CHECKING:
    from moeplace.formulations.exact.linear_model import LinearModel


def create_variables(program: LinearModel) -> list[Any]:
    """Make the variables for PuLP."""
    import pulp

    limits = [
        [None if np.isinf(v) else v for v in side.tolist()]
        for side in (program.lower, program.upper)
    ]
    category = np.where(program.kind == INTEGER, pulp.LpInteger, pulp.LpContinuous).tolist()
    return [
        pulp.LpVariable(f"v{number}", low, high, cat)
        for number, (low, high, cat) in enumerate(zip(*limits, category, strict=True))
    ]
