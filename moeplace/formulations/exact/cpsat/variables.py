from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from moeplace.formulations.exact.linear_model import CONTINUOUS, FRACTION

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from moeplace.formulations.exact.linear_model import LinearModel

FRACTION_BITS = 24  # a product of chances is counted in steps of 2^−24
COST_BITS = 30  # a cost in steps of 2^−30 units, of which a known value has 1000
FINE_BITS = 42  # the same where fractions add up to costs: each may lose one step of its own


def scales(model: LinearModel) -> NDArray[np.float64]:
    """Return (columns,) whole numbers per 1.0 of each variable."""
    scale = np.ones(model.num_columns)
    fraction = model.kind == FRACTION
    scale[fraction] = 2.0**FRACTION_BITS
    bits = FINE_BITS if fraction.any() else COST_BITS
    scale[model.kind == CONTINUOUS] = 1 / model.grain if model.grain else 2.0**bits
    return scale


def create_variables(model: Any, program: LinearModel, scale: NDArray[np.float64]) -> list[Any]:
    """Add the variables in whole numbers; costs are rounded outward."""
    slack = np.where(program.kind == CONTINUOUS, 1e-9, 0.0)
    lower = np.floor(program.lower * scale * (1 - slack) + 1e-6).astype(np.int64)
    upper = np.ceil(program.upper * scale * (1 + slack) - 1e-6).astype(np.int64)
    return [
        model.new_int_var(low, high, "")
        for low, high in zip(lower.tolist(), upper.tolist(), strict=True)
    ]
