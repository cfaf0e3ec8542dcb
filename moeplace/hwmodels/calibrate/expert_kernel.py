"""Time of the expert kernels: weights streamed or rows computed, whichever is slower.

    T = max(launch, a + Σ_experts ((b·[n > 0])^3 + (c·tile·⌈n/tile⌉)^3)^(1/3) + d·rows)

b streams one expert's weights, c computes one row, d gathers and scatters one row. The exponent 3
rounds the corner between the two regimes the way the measured kernels do; DESIGN §5 has the
sharp corner.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from moeplace.errors import InputError
from moeplace.hwmodels.calibrate.expert_loads import rank_loads

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from moeplace.hwmodels.calibrate.points import ExpertPoint

CORNER = 3.0
TILES = {"prefill": 128, "decode": 64}
SOFT = 0.05
START = {
    "prefill": {"base_us": 200.0, "weight_us": 15.0, "row_us": 0.07},
    "decode": {"base_us": 20.0, "weight_us": 12.0, "row_us": 0.06},
}


@dataclass(frozen=True)
class ExpertKernel:
    """Constants of the expert kernels of one system, phase, shape and dtype.

    Attributes
    ----------
    base_us, launch_us
        a, and the least time of the whole kernel.
    weight_us
        b, one activated expert.
    row_us
        c, one (padded) row.
    gather_us
        d, one row of the rank's input.
    tile
        Rows that are computed together.
    """

    base_us: float
    weight_us: float
    row_us: float
    gather_us: float
    launch_us: float
    tile: int

    def time_us(self, loads: NDArray[np.float64], rows: NDArray[np.float64]) -> float:
        """Return the median over drawings for (drawings, experts) loads and (drawings,) rows."""
        padded = np.ceil(loads / self.tile) * self.tile
        weights = self.weight_us * (loads > 0)
        slow = (weights**CORNER + (self.row_us * padded) ** CORNER) ** (1 / CORNER)
        total = self.base_us + slow.sum(axis=1) + self.gather_us * rows
        return float(np.median(np.maximum(self.launch_us, total)))

    def predict(self, points: Sequence[ExpertPoint]) -> NDArray[np.float64]:
        """Return (points,) µs."""
        return np.array([self.time_us(*rank_loads(point)) for point in points])


def fit_expert_kernel(points: Sequence[ExpertPoint]) -> ExpertKernel:
    """Fit the five constants to measured sweeps of one system, phase and shape.

    Relative errors count; beyond 5 % they count less and less.

    Raises
    ------
    InputError
        If there are fewer than six points, or points of several phases or shapes.
    """
    from scipy.optimize import least_squares

    kinds = {(p.system, p.phase, p.hidden, p.inter, p.dtype) for p in points}
    if len(points) < 6 or len(kinds) != 1:
        raise InputError(
            f"an expert kernel is fitted to at least 6 times of one system, phase, shape and "
            f"dtype; given are {len(points)} of {len(kinds)}"
        )
    phase = points[0].phase
    measured = np.array([point.measured_us for point in points])
    loads = [rank_loads(point) for point in points]
    start = START[phase]
    # The decode kernel has no floor of its own: its base is one.
    launch = float(measured.min()) * (0.9 if phase == "prefill" else 0.01)
    names = np.array([*start.values(), 0.002, launch])

    def kernel(x: NDArray[np.float64]) -> ExpertKernel:
        base, weight, row, gather, least = (float(v) for v in np.exp(x))
        return ExpertKernel(base, weight, row, gather, least, TILES[phase])

    def residuals(x: NDArray[np.float64]) -> NDArray[np.float64]:
        model = kernel(x)
        predicted = np.array([model.time_us(*load) for load in loads])
        logs: NDArray[np.float64] = np.log(predicted / measured)
        return logs

    found = least_squares(
        residuals, np.log(names), loss="soft_l1", f_scale=SOFT, max_nfev=60, xtol=1e-6
    )
    return kernel(found.x)
