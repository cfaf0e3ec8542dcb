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
FEW_ROWS = 1024
# Mean rows of an expert at which a kernel may change its tiles; the sweeps choose among them.
KNEES = (64, 96, 128, 192, 256)


@dataclass(frozen=True)
class GemmCurve:
    """Time of the grouped GEMMs of a rank, activation included, from the rows of its experts.

    A grouped GEMM picks one shape of tile for all experts from their mean rows, then streams each
    expert's weights once per tile. Up to `knee` rows in the mean, with 128-row tiles:
    T = a + b · full tiles + c · half-filled last tiles + d · active experts + e · rows. Beyond it:
    T = a + b · 256-row tiles + c · 128-row tiles + d · rows + e · active experts.

    Attributes
    ----------
    knee
        Mean rows of an expert, empty ones counted.
    narrow, wide
        (5,) constants in µs up to the knee and beyond it, all at least 0.
    """

    knee: int
    narrow: NDArray[np.float64]
    wide: NDArray[np.float64]

    def predict_us(self, counts: NDArray[np.float64]) -> float:
        """Return the time for (experts,) rows."""
        wide = bool(counts.mean() > self.knee)
        return float(_features(counts, wide) @ (self.wide if wide else self.narrow))


def _features(counts: NDArray[np.float64], wide: bool) -> NDArray[np.float64]:
    active = counts[counts > 0]
    tiles = np.ceil(active / TILE).sum()
    rows, experts = active.sum(), float(active.size)
    if wide:
        return np.array([1.0, np.ceil(active / WIDE_TILE).sum(), tiles, rows, experts])
    last = active % TILE
    half = float(((last > 0) & (last <= TILE / 2)).sum())
    return np.array([1.0, tiles - half, half, experts, rows])


def fit_gemm_curve(calibrations: Sequence[Mapping[str, Any]]) -> GemmCurve:
    """Fit the curve to ``grouped_uniform`` and ``grouped_skewed`` sweeps.

    The knee is the one with which the sweeps are fitted best.

    Raises
    ------
    InputError
        If there is no uniform sweep over at least three row counts.
    """
    sweeps: list[tuple[NDArray[np.float64], float]] = []
    counts_seen = set()
    for calib in calibrations:
        for entry in calib.get("grouped_uniform", []):
            counts_seen.add(entry["tokens_per_expert"])
            rows = np.full(entry["experts"], float(entry["tokens_per_expert"]))
            sweeps.append((rows, _slowest(entry, "total_us")))
        sweeps.extend(
            (np.asarray(entry["counts"], float), _slowest(entry, "total_us"))
            for entry in calib.get("grouped_skewed", [])
        )
    if len(counts_seen) < 3:
        raise InputError("the sweep grouped_uniform needs at least three values tokens_per_expert")
    time = np.array([each[1] for each in sweeps])
    found = []
    for knee in KNEES:
        curve = _with_knee(knee, sweeps)
        error = np.abs([curve.predict_us(counts) for counts, _ in sweeps] / time - 1)
        found.append((float(np.median(error) + np.quantile(error, 0.9)), curve))
    return min(found, key=lambda each: each[0])[1]


def _with_knee(knee: int, sweeps: Sequence[tuple[NDArray[np.float64], float]]) -> GemmCurve:
    from scipy.optimize import nnls

    constants = []
    for wide in (False, True):
        chosen = [(c, t) for c, t in sweeps if bool(c.mean() > knee) == wide]
        if not chosen:  # the other side's sweeps are all there is
            chosen = list(sweeps)
        time = np.array([t for _, t in chosen])
        features = np.array([_features(counts, wide) for counts, _ in chosen])
        constants.append(nnls(features / time[:, None], np.ones(len(time)))[0])
    return GemmCurve(knee, constants[0], constants[1])


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
        The two grouped GEMMs and the activation between them.
    copy
        Moving rows in memory, by bytes read and written.
    exchange
        All-to-all by regime of the links.
    """

    gemm: GemmCurve
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
    exchange = {
        regime: fit_exchange(sweeps, ports)
        for document in documents
        for regime, sweeps in document.get("a2a", {}).items()
    }
    return LayerModel(fit_gemm_curve(calibrations), _fit_copy(documents), exchange)


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
        _slowest(entry, "total_us") - _slowest(entry, "gemm1_us") - _slowest(entry, "gemm2_us")
        for entry in entries
        if entry["rows"] <= FEW_ROWS
    ]
    base_us = max(0.0, float(np.median(least))) if least else 0.0
    copies = [
        (2 * entry["mib"] * 2.0**20, _slowest(entry, "per_rank_us"))
        for document in documents
        for entry in document["calib"].get("hbm_copy", [])
    ]
    if not copies:
        copies = [
            (6.0 * document["meta"]["shape"]["moe_intermediate"] * entry["rows"],
             _slowest(entry, "swiglu_us"))
            for document in documents
            for name in ("grouped_uniform", "grouped_skewed")
            for entry in document["calib"].get(name, [])
        ]  # fmt: skip
    if len(copies) < 2:
        raise InputError("the sweep hbm_copy needs at least two sizes")
    return Line(base_us, _line(*zip(*copies, strict=True)).per_unit_us)
