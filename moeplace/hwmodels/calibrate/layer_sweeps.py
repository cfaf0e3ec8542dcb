"""Micro-benchmark sweeps of one machine, and the layer model that is fitted to them alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from moeplace.errors import InputError
from moeplace.hwmodels.calibrate.grouped_gemm import GemmCurve, fit_gemm_curve, slowest

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

FEW_ROWS = 1024


@dataclass(frozen=True)
class Line:
    """T = base + per_unit · amount."""

    base_us: float
    per_unit_us: float

    def at(self, amount: float) -> float:
        """Return the time."""
        return self.base_us + self.per_unit_us * amount


@dataclass(frozen=True)
class Moving:
    """T = base + per_pair · bytes of pairs + per_row · bytes of rows."""

    base_us: float
    per_pair_us: float
    per_row_us: float

    def at(self, pair_bytes: float, row_bytes: float) -> float:
        """Return the time."""
        return self.base_us + self.per_pair_us * pair_bytes + self.per_row_us * row_bytes


def _nonnegative(amounts: NDArray[np.float64], time: Sequence[float]) -> list[float]:
    """Return a base and a rate for each of (points, amounts): least relative squares, none < 0."""
    from scipy.optimize import nnls

    y = np.asarray(time, float)
    terms = np.c_[np.ones(len(y)), amounts] / y[:, None]
    return [float(v) for v in nnls(terms, np.ones(len(y)))[0]]


def _line(amount: Sequence[float], time: Sequence[float]) -> Line:
    return Line(*_nonnegative(np.asarray(amount, float)[:, None], time))


@dataclass(frozen=True)
class ExchangeCurve:
    """Time of an all-to-all from the bytes at the busiest port and the bytes of all.

    Linear between the measured points of the even sweep, scaled down where one direction is
    idle: t = t_even(most in or out) · (1 - one_way · (1 - all / (ports · most))).
    """

    port_bytes: NDArray[np.float64]
    time_us: NDArray[np.float64]
    one_way: float
    ports: int

    def predict_us(self, port_bytes: float, all_bytes: float) -> float:
        """Return the time."""
        full = self.ports * port_bytes
        idle = max(0.0, 1 - all_bytes / full) if full else 0.0
        return self._even(port_bytes) * (1.0 - self.one_way * idle)

    def _even(self, port_bytes: float) -> float:
        beyond = max(0.0, port_bytes - self.port_bytes[-1])
        slope = float(self.time_us[-1] / self.port_bytes[-1])
        even = float(np.interp(port_bytes, self.port_bytes, self.time_us))
        return float(even + beyond * slope)


def fit_exchange(sweeps: Mapping[str, Any], ports: int) -> ExchangeCurve:
    """Fit the curve to the sweeps ``uniform``, ``hot_destination``, ``hot_source``, ``random``.

    Raises
    ------
    InputError
        If there is no even sweep.
    """
    even = sorted((entry["max_in_or_out_bytes"], entry["max_us"]) for entry in sweeps["uniform"])
    if len(even) < 2:
        raise InputError("the all-to-all sweep uniform needs at least two sizes")
    sizes, times = np.array(even, float).T
    curve = ExchangeCurve(sizes, times, 0.0, ports)
    top = bottom = 0.0
    for name in ("hot_destination", "hot_source", "random"):
        for entry in sweeps.get(name, []):
            port, total = float(entry["max_in_or_out_bytes"]), float(entry["off_rank_bytes"])
            idle = max(0.0, 1 - total / (ports * port))
            saved = 1 - entry["max_us"] / curve.predict_us(port, ports * port)
            top += idle * saved
            bottom += idle * idle
    one_way = min(max(top / bottom, 0.0), 1.0) if bottom else 0.0
    return ExchangeCurve(curve.port_bytes, curve.time_us, one_way, ports)


@dataclass(frozen=True)
class LayerModel:
    """Everything that a layer on one machine is predicted with.

    Attributes
    ----------
    gemm
        The two grouped GEMMs and the activation between them.
    copy
        Moving rows in memory, by bytes read and written.
    expand, reduce
        Writing a row for every pair, and summing the pairs of every row.
    exchange
        All-to-all by regime of the links.
    """

    gemm: GemmCurve
    copy: Line
    expand: Moving
    reduce: Moving
    exchange: Mapping[str, ExchangeCurve]


def fit_layer_model(documents: Sequence[Mapping[str, Any]], ports: int) -> LayerModel:
    """Fit the model to the sweeps in the files of one kind of machine.

    Raises
    ------
    InputError
        If a sweep is missing.
    """
    exchange = {
        regime: fit_exchange(sweeps, ports)
        for document in documents
        for regime, sweeps in document.get("a2a", {}).items()
    }
    copy = _fit_copy(documents)
    return LayerModel(fit_gemm_curve(documents), copy, *_fit_moving(documents, copy), exchange)


def _fit_moving(documents: Sequence[Mapping[str, Any]], copy: Line) -> tuple[Moving, Moving]:
    """Return expand and reduce as the sweep ``moved`` has them; as plain copies without it.

    A copy reads and writes one row per pair to expand, and to reduce it reads the pairs and
    writes the rows.
    """
    moved = [entry for document in documents for entry in document["calib"].get("moved", [])]
    if len(moved) < 3:
        rate = copy.per_unit_us
        return Moving(copy.base_us, 2 * rate, 0.0), Moving(copy.base_us, rate, rate)
    amounts = np.array([[e["pairs"], e["rows"]] for e in moved], float)
    amounts *= np.array([[float(e["row_bytes"])] for e in moved])
    return (
        Moving(*_nonnegative(amounts, [slowest(e, "expand_us") for e in moved])),
        Moving(*_nonnegative(amounts, [slowest(e, "reduce_us") for e in moved])),
    )


def _fit_copy(documents: Sequence[Mapping[str, Any]]) -> Line:
    """Return the cost of a kernel that only moves rows.

    The rate is that of ``hbm_copy``; without that sweep that of the activation, which reads two
    rows of the expert's inner width and writes one. What such a kernel costs at least is what the
    activation adds to the two GEMMs where there are few rows.
    """
    entries = [
        entry
        for document in documents
        for name in ("grouped_uniform", "grouped_skewed")
        for entry in document["calib"].get(name, [])
    ]
    least = [
        slowest(entry, "total_us") - slowest(entry, "gemm1_us") - slowest(entry, "gemm2_us")
        for entry in entries
        if entry["rows"] <= FEW_ROWS
    ]
    base_us = max(0.0, float(np.median(least))) if least else 0.0
    copies = [
        (2 * entry["mib"] * 2.0**20, slowest(entry, "per_rank_us"))
        for document in documents
        for entry in document["calib"].get("hbm_copy", [])
    ]
    if not copies:
        copies = [
            (6.0 * document["meta"]["shape"]["moe_intermediate"] * entry["rows"],
             slowest(entry, "swiglu_us"))
            for document in documents
            for name in ("grouped_uniform", "grouped_skewed")
            for entry in document["calib"].get(name, [])
        ]  # fmt: skip
    if len(copies) < 2:
        raise InputError("the sweep hbm_copy needs at least two sizes")
    return Line(base_us, _line(*zip(*copies, strict=True)).per_unit_us)
