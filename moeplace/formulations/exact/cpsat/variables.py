from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from moeplace.formulations.exact.minmax import MinMaxLayer

EXACT_LIMIT = 2**53  # loads · lcm of counts up to here are taken as whole numbers, exactly
SCALED_TOTAL = 2**44  # otherwise the loads are scaled to this sum and rounded down


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
        (choices,) whole-number load of a replica.
    scale
        Units of `weight` per unit of load; weights are at most ``share · scale``, so M / scale is
        a lower bound even where they were rounded down.
    """

    chosen: list[Any]
    on: list[list[Any]]
    fullest: Any
    weight: NDArray[np.int64]
    scale: float


def create_variables(model: Any, form: MinMaxLayer) -> Variables:
    """Add y, x and M to a CP-SAT model."""
    weight, scale = whole_weights(form)
    chosen = [model.new_bool_var(f"y{i}") for i in range(form.expert.size)]
    on = [
        [
            model.new_bool_var(f"x{i},{d}") if form.possible[i, d] else None
            for d in range(form.num_ranks)
        ]
        for i in range(form.expert.size)
    ]
    lowest = int(form.lower * scale)
    highest = max(lowest, int(form.upper * scale * (1 + 1e-12)) + 2)
    return Variables(chosen, on, model.new_int_var(lowest, highest, "M"), weight, scale)


def whole_weights(form: MinMaxLayer) -> tuple[NDArray[np.int64], float]:
    """Return (choices,) whole-number loads of a replica, and units per unit of load.

    Exact where the loads are whole numbers and, times the least common multiple of the counts,
    sum to at most 2^53; else scaled and rounded down, which keeps bounds valid.
    """
    common = int(np.lcm.reduce(np.unique(form.copies)))
    total = float(form.load.sum())
    if total * common <= EXACT_LIMIT and bool((form.load == np.rint(form.load)).all()):
        exact: NDArray[np.int64] = form.load.astype(np.int64)[form.expert] * (common // form.copies)
        return exact, float(common)
    scale = SCALED_TOTAL / total
    rounded = np.floor(np.nextafter(form.share * scale, 0.0)).astype(np.int64)
    return rounded, scale
