from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from moeplace.formulations.exact.minmax import MinMaxLayer

LOAD_UNITS = 1000.0  # loads are scaled such that the known value is this: CBC's tolerances are
# absolute (1e-9 as set here), so they are relative errors of about 1e-12


@dataclass(frozen=True, eq=False)
class Variables:
    """Variables of one layer's model, and the unit of its load.

    Attributes
    ----------
    chosen
        (choices,) y.
    on
        (choices, ranks) x, None where `MinMaxLayer.possible` is False.
    fullest
        M.
    weight
        (choices,) load of a replica in the model's unit.
    scale
        Model units per unit of load.
    """

    chosen: list[Any]
    on: list[list[Any]]
    fullest: Any
    weight: NDArray[np.float64]
    scale: float


def create_variables(form: MinMaxLayer) -> Variables:
    """Make y, x and M for PuLP."""
    import pulp

    scale = LOAD_UNITS / form.upper
    chosen = [pulp.LpVariable(f"y_{i}", cat="Binary") for i in range(form.expert.size)]
    on = [
        [
            pulp.LpVariable(f"x_{i}_{d}", cat="Binary") if form.possible[i, d] else None
            for d in range(form.num_ranks)
        ]
        for i in range(form.expert.size)
    ]
    fullest = pulp.LpVariable("M", lowBound=form.lower * scale)
    return Variables(chosen, on, fullest, form.share * scale, scale)
