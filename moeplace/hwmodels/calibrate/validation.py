"""Predictions for measured tables, published figures and timed layers."""

from __future__ import annotations

from collections import Counter
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from moeplace.errors import InputError
from moeplace.hwmodels.calibrate.kernels import group_of
from moeplace.hwmodels.calibrate.report import ValidationReport, ValidationRow
from moeplace.hwmodels.calibrate.shipped_points import (
    shipped_comm,
    shipped_expert,
    shipped_published,
)
from moeplace.hwmodels.calibrate.siblings import find_kernel
from moeplace.hwmodels.calibrate.store import shipped_kernels

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from moeplace.hwmodels.calibrate.expert_fits import ExpertFit
    from moeplace.hwmodels.calibrate.kernels import CommKernel, Key
    from moeplace.hwmodels.calibrate.points import CommPoint, ExpertPoint
    from moeplace.hwmodels.calibrate.published import PublishedRow

PHASE_OF_FAMILY = {
    "deepep-low-latency": "decode",
    "deepep-normal": "prefill",
    "hybrid-ep": "prefill",
}


@lru_cache(maxsize=1)
def _kernels() -> dict[Key, CommKernel]:
    return {kernel.identity: kernel for kernel in shipped_kernels()[0]}


def validate_tables(system: str | None = None) -> ValidationReport:
    """Predict the measured tables and published figures that ship.

    Every measured point gives two rows: one predicted by the constants (fitted), one by constants
    fitted without its group: its EP size where a sweep has several, else its shape (held out).

    Parameters
    ----------
    system
        Catalogue name; None for all.
    """
    rows: list[ValidationRow] = []
    for point in shipped_comm():
        if system in (None, point.system):
            rows.extend(_comm_rows(point))
    for expert in shipped_expert():
        if system in (None, expert.system):
            rows.extend(_expert_rows(expert))
    published = [
        row
        for row in shipped_published()
        if system is None or (row.point is not None and row.point.system == system)
    ]
    report = _published_report(published)
    return ValidationReport([*rows, *report.rows], report.not_modelled)


def validate_points(path: str | Path) -> ValidationReport:
    """Predict a file of published figures.

    Raises
    ------
    InputError
        If the file or a row is wrong; with the line.
    """
    from moeplace.hwmodels.calibrate.published import read_published

    return _published_report(read_published(path))


def validate_layer_folder(folder: str | Path) -> ValidationReport:
    """Predict timed layers from the sweeps in the same files.

    Raises
    ------
    InputError
        If the folder or a file in it is wrong.
    """
    from moeplace.hwmodels.calibrate.layers import mean_tau, validate_layers

    report = validate_layers(folder)
    rows = [
        ValidationRow(
            source=row.file,
            system=row.regime,
            kernel=f"layer, {row.mode}",
            phase="decode" if row.tokens_per_rank <= 256 else "prefill",
            op=f"{row.quantity}, {row.placement}, {row.trace}, repeat {row.repeat}",
            ep=row.ranks,
            tokens=row.tokens_per_rank,
            unit="us",
            measured=row.measured_us,
            predicted=row.predicted_us,
            role="held out",
        )
        for row in report.rows
    ]
    missing = [{"what": what, "reason": why, "count": 1} for what, why in report.not_modelled]
    return ValidationReport(rows, missing, mean_tau(report))


def _comm_rows(point: CommPoint) -> Iterable[ValidationRow]:
    kernel, why = find_kernel(point, _kernels())
    if kernel is None:
        raise InputError(f"a shipped table has no kernel: {why}")
    shared: dict[str, Any] = {
        "source": point.source,
        "system": point.system,
        "kernel": point.family + (" between nodes" if point.nodes > 1 else ""),
        "phase": PHASE_OF_FAMILY.get(point.family, "both"),
        "op": f"{point.op} {point.dtype}",
        "ep": point.ranks,
        "tokens": point.tokens if not point.payload else 0,
        "unit": "us",
        "measured": point.measured_us,
    }
    yield ValidationRow(**shared, predicted=kernel.predict_us(point), role="fitted")
    if group_of(point, kernel.held_out_by) in kernel.without:
        predicted = kernel.predict_us(point, held_out=True)
        note = f"without its {kernel.held_out_by}"
        yield ValidationRow(**shared, predicted=predicted, role="held out", note=note)


@lru_cache(maxsize=1)
def _expert_fits() -> tuple[ExpertFit, ...]:
    return shipped_kernels()[1]


def _expert_rows(point: ExpertPoint) -> Iterable[ValidationRow]:
    fit = next((fit for fit in _expert_fits() if fit.applies_to(point)), None)
    if fit is None:
        raise InputError(f"a shipped expert table has no fit: {point.system} {point.phase}")
    shared: dict[str, Any] = {
        "source": point.source,
        "system": point.system,
        "kernel": "expert GEMM",
        "phase": point.phase,
        "op": "uniform" if point.skew == 0 else f"power law {point.skew:g}",
        "ep": point.ranks,
        "tokens": point.tokens,
        "unit": "us",
        "measured": point.measured_us,
    }
    yield ValidationRow(**shared, predicted=fit.predict_us(point), role="fitted")
    if str(point.ranks) in fit.without:
        predicted = fit.predict_us(point, held_out=True)
        yield ValidationRow(
            **shared, predicted=predicted, role="held out", note="without its EP size"
        )


def _published_report(published: Sequence[PublishedRow]) -> ValidationReport:
    from moeplace.hwmodels.calibrate.end_to_end import predict_published

    fitted_on = {_figure(row) for row in shipped_published() if _was_fitted(row)}
    rows: list[ValidationRow] = []
    missing: Counter[tuple[str, str]] = Counter()
    for row in published:
        if row.kind == "end-to-end":
            found = predict_published(row)
            if isinstance(found, str):
                missing[row.label, found] += 1
            else:
                rows.append(_apart(row, *found))
            continue
        if row.point is None:
            missing[row.label, row.reason] += 1
            continue
        kernel, why = find_kernel(row.point, _kernels())
        if kernel is None:
            missing[row.label, why] += 1
            continue
        notes = [row.reason, why if why != "own fit" else "", kernel.outside(row.point) or ""]
        seen = _figure(row) in fitted_on
        if seen:
            notes.append(f"without its {kernel.held_out_by}")
        predicted = kernel.predict_us(row.point, held_out=seen)
        rows.append(_published_row(row, predicted, "held out", notes))
        if seen:
            rows.append(_published_row(row, kernel.predict_us(row.point), "fitted", []))
    return ValidationReport(
        rows,
        [
            {"what": what, "reason": reason, "count": count}
            for (what, reason), count in sorted(missing.items())
        ],
    )


def _was_fitted(row: PublishedRow) -> bool:
    """Whether a shipped figure went into constants: those of kernels without a table."""
    if row.point is None:
        return False
    kernel, why = find_kernel(row.point, _kernels())
    return kernel is not None and why == "own fit" and "README" in kernel.source


def _figure(row: PublishedRow) -> tuple[Any, ...]:
    """Return what makes two rows the same figure, wherever they were read from."""
    if row.point is None:
        return (row.source, row.label, row.value)
    point = row.point.replace(source="", measured_us=0.0)
    return (row.source, row.metric, row.value, point)


def _published_row(
    row: PublishedRow, predicted_us: float, role: str, notes: Sequence[str]
) -> ValidationRow:
    point = row.point
    if point is None:
        raise InputError(f"{row.where}: nothing to predict")
    return ValidationRow(
        source=row.source,
        system=point.system,
        kernel=point.family + (" between nodes" if point.nodes > 1 else ""),
        phase=PHASE_OF_FAMILY.get(point.family, "prefill" if point.tokens > 256 else "decode"),
        op=f"{point.op} {point.dtype}" + (f", {point.sms} SMs" if point.sms else ""),
        ep=point.ranks,
        tokens=point.tokens,
        unit=row.unit or "us",
        measured=row.value,
        predicted=row.in_unit(predicted_us),
        role=role,
        note="; ".join(note for note in notes if note),
    )


def _apart(
    row: PublishedRow, predicted: float, system: str, ranks: int, note: str
) -> ValidationRow:
    return ValidationRow(
        source=row.source,
        system=system,
        kernel="end-to-end",
        phase="prefill" if "prefill" in row.label else "decode",
        op=row.label,
        ep=ranks,
        tokens=0,
        unit=row.unit,
        measured=row.value,
        predicted=predicted,
        role="apart",
        note=note,
    )
