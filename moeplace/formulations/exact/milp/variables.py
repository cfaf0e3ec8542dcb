from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from moeplace.formulations.exact.linear_model import CONTINUOUS, INTEGER

if TYPE_CHECKING:
    from moeplace.formulations.exact.linear_model import LinearModel

CUTOFF = 1.001  # costs are limited to this times a known value: at 1 HiGHS 1.12 fails at times


def create_variables(model: LinearModel) -> dict[str, Any]:
    """Return limits and integrality for ``scipy.optimize.milp``."""
    from scipy.optimize import Bounds

    upper = np.where(model.kind == CONTINUOUS, model.upper * CUTOFF, model.upper)
    return {
        "bounds": Bounds(model.lower, upper),
        "integrality": (model.kind == INTEGER).astype(np.int64),
    }
