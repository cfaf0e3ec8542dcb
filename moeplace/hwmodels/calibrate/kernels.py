"""Fitted kernels: constants, where they hold, how far off they are, and predictions from them."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from moeplace.hwmodels.calibrate.families import get_family
from moeplace.hwmodels.calibrate.forms import Fit, fit_form
from moeplace.hwmodels.calibrate.statistics import ErrorSummary, summarize
from moeplace.hwmodels.calibrate.terms import quantities

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from moeplace.hwmodels.calibrate.families import Family
    from moeplace.hwmodels.calibrate.points import CommPoint

Key = tuple[str, str, bool, str]
SLACK = 1.5  # predictions this far beyond the measured range are still called inside


@dataclass(frozen=True)
class CommKernel:
    """One fitted all-to-all kernel.

    Attributes
    ----------
    system, family, between, key
        What it is: catalogue name, family, several nodes or one, and the operation (with the
        payload type where the family tells them apart).
    fit
        Its constants.
    ranges
        (least, most) of ``ranks``, ``tokens`` and ``sms`` among the fitted points.
    points
        How many they were.
    error
        Of the fit on its own points.
    held_out_by
        ``EP size``, ``shape`` or ``tokens``: what was left out to get `held_out`.
    held_out
        Error of predictions by fits that saw no point of the same group.
    without
        Constants of those fits, by the group they did not see.
    source
        Of the measurements.
    """

    system: str
    family: str
    between: bool
    key: str
    fit: Fit
    ranges: Mapping[str, tuple[float, float]]
    points: int
    error: ErrorSummary
    held_out_by: str
    held_out: ErrorSummary
    without: Mapping[str, Fit] = field(default_factory=dict)
    source: str = ""

    @property
    def identity(self) -> Key:
        """What finds it."""
        return self.system, self.family, self.between, self.key

    def predict_us(self, point: CommPoint, held_out: bool = False) -> float:
        """Return the time at a point; `held_out` uses the fit that did not see its group."""
        fit = self.fit
        if held_out:
            fit = self.without.get(group_of(point, self.held_out_by), fit)
        return float(fit.predict(quantities([point], fit.form.terms))[0])

    def outside(self, point: CommPoint) -> str | None:
        """Return what lies outside the range of the fit, None if nothing does."""
        for name, (least, most) in self.ranges.items():
            value = getattr(point, name)
            if not least / SLACK <= value <= most * SLACK:
                return f"{name} {value:g} outside {least:g} to {most:g}"
        return None


def group_of(point: CommPoint, by: str) -> str:
    """Return the group of a point when groups are left out."""
    if by == "EP size":
        return str(point.ranks)
    if by == "shape":
        return f"{point.hidden}/{point.top_k}/{point.experts}"
    return str(point.tokens)


def kernel_key(point: CommPoint) -> Key | None:
    """Return what finds the kernel of a point, None if its family has none for it."""
    family = get_family(point.family)
    forms = family.inside if point.nodes == 1 else family.between
    for key in (f"{point.op} {point.dtype}", point.op, "*"):
        if key in forms:
            return point.system, point.family, point.nodes > 1, point.op if key == "*" else key
    return None


def fit_comm_kernels(points: Iterable[CommPoint], source: str) -> list[CommKernel]:
    """Fit every kernel that the points hold.

    Constants that a family shares with others (`Family.shared`) are taken from their fits on the
    same system, where the points hold them too.

    Raises
    ------
    InputError
        If a kernel has fewer than two points.
    """
    groups: dict[Key, list[CommPoint]] = defaultdict(list)
    for point in points:
        key = kernel_key(point)
        if key is not None:
            groups[key].append(point)
    fitted: dict[Key, CommKernel] = {}
    # Kernels that others take constants from come first.
    for key in sorted(groups, key=lambda k: (k[2] and bool(get_family(k[1]).shared), k)):
        fitted[key] = _fit_kernel(key, groups[key], fitted, source)
    return list(fitted.values())


def _fit_kernel(
    key: Key, points: Sequence[CommPoint], fitted: Mapping[Key, CommKernel], source: str
) -> CommKernel:
    family, op = key[1], key[3]
    form = get_family(family).form(points[0])
    if form is None:  # kernel_key found one
        raise RuntimeError(f"{family} has no form for {op}")
    by = next(
        (kind for kind in ("EP size", "shape") if len({group_of(p, kind) for p in points}) > 1),
        "tokens",
    )
    amounts = quantities(points, form.terms)
    measured = np.array([point.measured_us for point in points])
    known = _known(get_family(family), key, fitted)
    fit = fit_form(form, amounts, measured, known=known)
    labels = np.array([group_of(point, by) for point in points])
    without: dict[str, Fit] = {}
    left_out = np.full(len(points), np.nan)
    if by != "tokens":
        for label in dict.fromkeys(labels.tolist()):
            out = labels == label
            if (~out).sum() < 2:
                continue
            without[label] = fit_form(form, amounts[~out], measured[~out], known=known)
            left_out[out] = without[label].predict(amounts[out])
    seen = ~np.isnan(left_out)
    return CommKernel(
        *key,
        fit=fit,
        ranges={
            name: (min(values), max(values))
            for name in ("ranks", "tokens", "sms")
            if (values := [float(getattr(point, name)) for point in points]) and max(values) > 0
        },
        points=len(points),
        error=summarize(fit.predict(amounts), measured),
        held_out_by=by,
        held_out=summarize(left_out[seen], measured[seen]),
        without=without,
        source=source,
    )


def _known(family: Family, key: Key, fitted: Mapping[Key, CommKernel]) -> dict[str, float]:
    """Return the shared constants of a kernel between nodes that were fitted before."""
    known = {}
    if key[2]:
        for term, (name, between, theirs) in family.shared.items():
            other = fitted.get((key[0], name, between, key[3]))
            if other is not None and theirs in other.fit.form.terms:
                known[term] = other.fit.values[other.fit.form.terms.index(theirs)]
    return known


def scaled(kernel: CommKernel, system: str, factors: Mapping[str, float]) -> CommKernel:
    """Return a kernel of a sibling system: constants of the named terms times a factor."""
    values = tuple(
        value * factors.get(name, 1.0)
        for name, value in zip(kernel.fit.form.terms, kernel.fit.values, strict=True)
    )
    return replace(kernel, system=system, fit=replace(kernel.fit, values=values), without={})
