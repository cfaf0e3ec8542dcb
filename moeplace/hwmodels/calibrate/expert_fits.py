"""Fitted expert kernels: constants, where they hold and how far off they are."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from moeplace.hwmodels.calibrate.expert_kernel import ExpertKernel, fit_expert_kernel
from moeplace.hwmodels.calibrate.kernels import SLACK
from moeplace.hwmodels.calibrate.statistics import ErrorSummary, summarize

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from moeplace.hwmodels.calibrate.points import ExpertPoint


@dataclass(frozen=True)
class ExpertFit:
    """One fitted expert kernel; the fields mean what they mean for all-to-all kernels.

    Attributes
    ----------
    shape
        (hidden, inter) of the experts.
    """

    system: str
    phase: str
    shape: tuple[int, int]
    dtype: str
    kernel: ExpertKernel
    ranges: Mapping[str, tuple[float, float]]
    points: int
    error: ErrorSummary
    held_out: ErrorSummary
    without: Mapping[str, ExpertKernel] = field(default_factory=dict)
    source: str = ""

    def predict_us(self, point: ExpertPoint, held_out: bool = False) -> float:
        """Return the time at a point; `held_out` uses the fit that did not see its EP size."""
        kernel = self.without.get(str(point.ranks), self.kernel) if held_out else self.kernel
        return float(kernel.predict([point])[0])

    def outside(self, point: ExpertPoint) -> str | None:
        """Return what lies outside the range of the fit, None if nothing does."""
        for name, (least, most) in self.ranges.items():
            value = getattr(point, name)
            if not least / SLACK <= value <= most * SLACK:
                return f"{name} {value:g} outside {least:g} to {most:g}"
        return None

    def applies_to(self, point: ExpertPoint) -> bool:
        """Whether the point is of this system, phase, shape and dtype."""
        here = (self.system, self.phase, self.shape, self.dtype)
        return here == (point.system, point.phase, (point.hidden, point.inter), point.dtype)


def fit_expert_kernels(points: Iterable[ExpertPoint], source: str) -> list[ExpertFit]:
    """Fit every expert kernel that the points hold, and once more without each EP size.

    Raises
    ------
    InputError
        If a kernel has fewer than six points.
    """
    groups: dict[tuple[str, str, int, int, str], list[ExpertPoint]] = defaultdict(list)
    for point in points:
        groups[point.system, point.phase, point.hidden, point.inter, point.dtype].append(point)
    return [_fit(group, source) for _, group in sorted(groups.items())]


def _fit(points: Sequence[ExpertPoint], source: str) -> ExpertFit:
    measured = np.array([point.measured_us for point in points])
    kernel = fit_expert_kernel(points)
    left_out = np.full(len(points), np.nan)
    without = {}
    for ranks in sorted({point.ranks for point in points}):
        out = np.array([point.ranks == ranks for point in points])
        rest = [point for point in points if point.ranks != ranks]
        if len(rest) < 6:
            continue
        without[str(ranks)] = fit_expert_kernel(rest)
        chosen = [point for point in points if point.ranks == ranks]
        left_out[out] = without[str(ranks)].predict(chosen)
    seen = ~np.isnan(left_out)
    first = points[0]
    return ExpertFit(
        system=first.system,
        phase=first.phase,
        shape=(first.hidden, first.inter),
        dtype=first.dtype,
        kernel=kernel,
        ranges={
            name: (
                min(float(getattr(p, name)) for p in points),
                max(float(getattr(p, name)) for p in points),
            )
            for name in ("ranks", "tokens", "skew")
        },
        points=len(points),
        error=summarize(kernel.predict(points), measured),
        held_out=summarize(left_out[seen], measured[seen]),
        without=without,
        source=source,
    )
