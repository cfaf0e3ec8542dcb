"""Errors of predictions in a few numbers, and agreement of rankings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray


@dataclass(frozen=True)
class ErrorSummary:
    """Absolute relative errors of some points, as shares.

    Attributes
    ----------
    count
        Points.
    median, p90, largest
        Of |predicted / measured - 1|.
    bias
        Median of predicted / measured - 1; positive = too slow predicted.
    """

    count: int
    median: float
    p90: float
    largest: float
    bias: float


def summarize(predicted: ArrayLike, measured: ArrayLike) -> ErrorSummary:
    """Return the errors of predictions; NaN figures without points."""
    error = relative_errors(predicted, measured)
    if not error.size:
        nan = float("nan")
        return ErrorSummary(0, nan, nan, nan, nan)
    size = np.abs(error)
    return ErrorSummary(
        error.size,
        float(np.median(size)),
        float(np.quantile(size, 0.9)),
        float(size.max()),
        float(np.median(error)),
    )


def relative_errors(predicted: ArrayLike, measured: ArrayLike) -> NDArray[np.float64]:
    """Return predicted / measured - 1."""
    ratio: NDArray[np.float64] = np.asarray(predicted, float) / np.asarray(measured, float) - 1
    return ratio


def kendall_tau(
    predicted: Sequence[float], measured: Sequence[float], margin: float = 0.0
) -> float | None:
    """Return Kendall's τ over the pairs whose measured values differ by more than the noise.

    Parameters
    ----------
    predicted, measured
        One value per item.
    margin
        Pairs whose measured values differ by at most this share of the smaller one do not count.

    Returns
    -------
    (concordant − discordant) / counted pairs, ties in the prediction counting 0; None if no pair
    differs enough.
    """
    agree = counted = 0
    for i in range(len(measured)):
        for j in range(i):
            gap = measured[i] - measured[j]
            if abs(gap) <= margin * min(measured[i], measured[j]):
                continue
            counted += 1
            step = (predicted[i] - predicted[j]) * gap
            agree += (step > 0) - (step < 0)
    return agree / counted if counted else None
