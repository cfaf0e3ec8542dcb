"""Micro-benchmark sweeps of one machine, and the layer model that is fitted to them alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from moeplace.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

TILE = 128
WIDE_TILE = 256
KNEE_ROWS = 192  # between the kernel's choice of tiles for few and for many rows


@dataclass(frozen=True)
class GemmCurve:
    """Time of the two grouped GEMMs of a rank from the rows of each of its experts.

    T = a + w · Σ g(n_e) + m · Σ max(192, 128 · ⌈n_e/128⌉) + t · Σ 256 · ⌈n_e/256⌉ over experts
    with rows. g is the measured time per expert when all experts have n rows, linear between the
    measured points and beyond them; the other terms correct it where loads are uneven, because
    the kernel picks tiles for all experts together.

    Attributes
    ----------
    rows, per_expert_us
        g, by rows of an expert.
    constants
        a, w, m, t.
    """

    rows: NDArray[np.float64]
    per_expert_us: NDArray[np.float64]
    constants: NDArray[np.float64]

    def predict_us(self, counts: NDArray[np.float64]) -> float:
        """Return the time for (experts,) rows."""
        return float(_features(counts, self.rows, self.per_expert_us) @ self.constants)


def _features(
    counts: NDArray[np.float64], rows: NDArray[np.float64], per_expert_us: NDArray[np.float64]
) -> NDArray[np.float64]:
    active = counts[counts > 0]
    beyond = np.clip(active - rows[-1], 0, None) * per_expert_us[-1] / rows[-1]
    even = np.interp(active, rows, per_expert_us) + beyond
    tiles = np.maximum(KNEE_ROWS, np.ceil(active / TILE) * TILE)
    wide = np.ceil(active / WIDE_TILE) * WIDE_TILE
    return np.array([1.0, even.sum(), tiles.sum(), wide.sum()])


def fit_gemm_curve(calibrations: Sequence[Mapping[str, Any]]) -> GemmCurve:
    """Fit the curve to ``grouped_uniform`` and ``grouped_skewed`` sweeps.

    Raises
    ------
    InputError
        If there is no uniform sweep over at least three row counts.
    """
    from scipy.optimize import nnls

    sweeps: list[tuple[NDArray[np.float64], float]] = []
    per_expert: dict[int, list[float]] = {}
    uniform = [entry for calib in calibrations for entry in calib.get("grouped_uniform", [])]
    largest = max((entry["experts"] for entry in uniform), default=0)
    for entry in uniform:
        spent = _slowest(entry, "gemm1_us") + _slowest(entry, "gemm2_us")
        sweeps.append((np.full(entry["experts"], float(entry["tokens_per_expert"])), spent))
        if entry["experts"] * 2 >= largest:  # few experts do not fill the machine
            per_expert.setdefault(entry["tokens_per_expert"], []).append(spent / entry["experts"])
    if len(per_expert) < 3:
        raise InputError("the sweep grouped_uniform needs at least three values tokens_per_expert")
    for calib in calibrations:
        for entry in calib.get("grouped_skewed", []):
            spent = _slowest(entry, "gemm1_us") + _slowest(entry, "gemm2_us")
            sweeps.append((np.asarray(entry["counts"], float), spent))
    rows = np.array(sorted(per_expert), float)
    curve = np.array([float(np.median(per_expert[int(n)])) for n in rows])
    time = np.array([each[1] for each in sweeps])
    features = np.array([_features(counts, rows, curve) for counts, _ in sweeps])
    constants, _ = nnls(features / time[:, None], np.ones(len(time)))
    return GemmCurve(rows, curve, constants)


def _slowest(entry: Mapping[str, Any], key: str) -> float:
    value = entry[key]
    return float(max(value)) if isinstance(value, list) else float(value)


@dataclass(frozen=True)
class Line:
    """T = base + per_unit · amount."""

    base_us: float
    per_unit_us: float

    def at(self, amount: float) -> float:
        """Return the time."""
        return self.base_us + self.per_unit_us * amount


def _line(amount: Sequence[float], time: Sequence[float]) -> Line:
    """Fit with the least relative squares, both constants at least 0."""
    from scipy.optimize import nnls

    y = np.asarray(time, float)
    constants, _ = nnls(np.c_[1 / y, np.asarray(amount, float) / y], np.ones(len(y)))
    return Line(float(constants[0]), float(constants[1]))


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
        The two grouped GEMMs.
    activation
        The kernel between them, by rows.
    copy
        Moving rows in memory, by bytes read and written.
    exchange
        All-to-all by regime of the links.
    """

    gemm: GemmCurve
    activation: Line
    copy: Line
    exchange: Mapping[str, ExchangeCurve]


def fit_layer_model(documents: Sequence[Mapping[str, Any]], ports: int) -> LayerModel:
    """Fit the model to the sweeps in the files of one kind of machine.

    Raises
    ------
    InputError
        If a sweep is missing.
    """
    calibrations = [document["calib"] for document in documents]
    swiglu = [
        (entry["rows"], _slowest(entry, "swiglu_us"))
        for calib in calibrations
        for entry in [*calib.get("grouped_uniform", []), *calib.get("grouped_skewed", [])]
    ]
    gemm = fit_gemm_curve(calibrations)
    copies = [
        (2 * entry["mib"] * 2.0**20, _slowest(entry, "per_rank_us"))
        for calib in calibrations
        for entry in calib.get("hbm_copy", [])
    ]
    if len(copies) < 2:
        raise InputError("the sweep hbm_copy needs at least two sizes")
    activation = _line(*zip(*swiglu, strict=True))
    copy = _line(*zip(*copies, strict=True))
    exchange = {
        regime: fit_exchange(sweeps, ports)
        for document in documents
        for regime, sweeps in document.get("a2a", {}).items()
    }
    # Sweeps of large copies do not show what a kernel costs at least; the activation's do.
    return LayerModel(gemm, activation, Line(activation.base_us, copy.per_unit_us), exchange)
