"""What a kernel's time is made of: fixed costs plus the slowest of a few resources."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from moeplace.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Mapping, Sequence

    from numpy.typing import NDArray

    from moeplace.hwmodels.calibrate.points import CommPoint

# Start of the search over exponents: 1 adds the resources up, 8 is close to their maximum.
EXPONENTS = (1.0, 2.0, 4.0)
SOFT = 0.05  # relative errors beyond this count less and less: a table has outliers


@dataclass(frozen=True)
class Form:
    """T = Σ costs + (Σ resources^p)^(1/p), every part a constant ≥ 0 times a known quantity.

    Attributes
    ----------
    costs, resources
        Names of the quantities, keys of :data:`moeplace.hwmodels.calibrate.terms.TERMS`.
    """

    costs: tuple[str, ...]
    resources: tuple[str, ...]

    @property
    def terms(self) -> tuple[str, ...]:
        """Costs, then resources."""
        return self.costs + self.resources


@dataclass(frozen=True)
class Fit:
    """Constants of a form.

    Attributes
    ----------
    form
        The parts.
    values
        (terms,) µs per unit of each quantity.
    exponent
        p; 1 if resources add up.
    """

    form: Form
    values: tuple[float, ...]
    exponent: float

    def predict(self, quantities: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return (points,) µs for (points, terms) quantities."""
        return _time(quantities, np.asarray(self.values), self.exponent, len(self.form.costs))


def _time(
    quantities: NDArray[np.float64], values: NDArray[np.float64], exponent: float, costs: int
) -> NDArray[np.float64]:
    parts = quantities * values
    fixed: NDArray[np.float64] = parts[:, :costs].sum(axis=1)
    slow = parts[:, costs:]
    if exponent == 1.0 or slow.shape[1] < 2:
        summed: NDArray[np.float64] = fixed + slow.sum(axis=1)
        return summed
    largest = slow.max(axis=1)
    scaled = slow / np.where(largest > 0, largest, 1.0)[:, None]
    total: NDArray[np.float64] = fixed + largest * (scaled**exponent).sum(axis=1) ** (1 / exponent)
    return total


def fit_form(
    form: Form,
    quantities: NDArray[np.float64],
    measured_us: NDArray[np.float64],
    exponents: Sequence[float] = EXPONENTS,
    known: Mapping[str, float] | None = None,
) -> Fit:
    """Return the constants with the least (softened) relative error.

    Starts from non-negative least squares on sums, then refines with a loss that grows linearly
    beyond 5 %. Parts that the points cannot tell apart come out as 0 or share a cost.

    Parameters
    ----------
    form
        The parts.
    quantities
        (points, terms).
    measured_us
        (points,).
    exponents
        Values of p to try; the best one is kept.
    known
        Constants that are not fitted, by term: measured elsewhere, a NIC's rate for example.

    Raises
    ------
    InputError
        If there are fewer points than two or a measured time is not positive.
    """
    from scipy.optimize import nnls

    if len(measured_us) < 2 or not (np.asarray(measured_us) > 0).all():
        raise InputError(
            f"a fit needs at least 2 positive times, {len(measured_us)} given; add measurements"
        )
    known = known or {}
    free = np.array([name not in known for name in form.terms])
    start = np.array([known.get(name, 0.0) for name in form.terms])
    start[free], _ = nnls(quantities[:, free] / measured_us[:, None], np.ones(len(measured_us)))
    best: tuple[float, NDArray[np.float64], float] | None = None
    for exponent in exponents if len(form.resources) > 1 else (1.0,):
        loss, values = _refine(quantities, measured_us, start, free, exponent, len(form.costs))
        if best is None or loss < best[0] * 0.999:
            best = (loss, values, exponent)
    if best is None:
        raise InputError("no exponent to try")
    return Fit(form, tuple(float(value) for value in best[1]), best[2])


def _refine(
    quantities: NDArray[np.float64],
    measured_us: NDArray[np.float64],
    start: NDArray[np.float64],
    free: NDArray[np.bool_],
    exponent: float,
    costs: int,
) -> tuple[float, NDArray[np.float64]]:
    from scipy.optimize import least_squares

    # Unknowns are in units in which every part is a share of the time: well conditioned.
    typical = np.median(measured_us) / np.maximum(np.median(quantities, axis=0), 1e-300)
    typical = np.where((quantities > 0).any(axis=0), np.minimum(typical, 1e6), 1.0)
    scale = np.where(start > 0, start, 0.02 * typical)

    values = start.copy()

    def residuals(x: NDArray[np.float64]) -> NDArray[np.float64]:
        values[free] = x * scale[free]
        time = _time(quantities, values, exponent, costs)
        return np.log(np.maximum(time, 1e-9) / measured_us)

    found = least_squares(
        residuals,
        np.where(start > 0, 1.0, 0.05)[free],
        bounds=(0.0, np.inf),
        loss="soft_l1",
        f_scale=SOFT,
        max_nfev=200,
    )
    values[free] = found.x * scale[free]
    share = (quantities * values).max(axis=0) / measured_us.max()
    values[free & (share < 1e-6)] = 0.0
    return float(found.cost), values


def leave_out(
    form: Form,
    points: Sequence[CommPoint],
    quantities: NDArray[np.float64],
    group_of: Callable[[CommPoint], Hashable],
    exponents: Sequence[float] = EXPONENTS,
    known: Mapping[str, float] | None = None,
) -> NDArray[np.float64]:
    """Return (points,) µs, each predicted by a fit that saw no point of its group.

    With a single group nothing can be left out: NaN.
    """
    measured = np.array([point.measured_us for point in points])
    keys = [group_of(point) for point in points]
    predicted = np.full(len(points), np.nan)
    if len(set(keys)) < 2:
        return predicted
    for key in dict.fromkeys(keys):
        out = np.array([other == key for other in keys])
        fit = fit_form(form, quantities[~out], measured[~out], exponents, known)
        predicted[out] = fit.predict(quantities[out])
    return predicted
