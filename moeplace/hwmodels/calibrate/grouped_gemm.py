"""Time of the two grouped GEMMs of a rank's experts, from tiles, waves and weights.

A grouped GEMM picks one shape of tile for all experts from their mean rows (PyTorch's
``GroupMM.cu``: 64 × 128 up to a mean of 128, 128 × 256 beyond, integer division), and two
multiprocessors work on two tiles that lie one above the other. Pairs of tiles run in waves of as
many pairs as the chip has pairs of multiprocessors; a wave that is not full takes as long as a
full one.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from moeplace.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

NARROW, WIDE = 128, 256  # rows and columns of a pair of tiles
# Mean rows of an expert at which the kernel may change its tiles; the sweeps choose among them.
KNEES = (64, 96, 128, 192, 256)
LEAST_POINTS = 8


@dataclass(frozen=True)
class Shape:
    """What decides the waves: width of the layer, of an expert, and pairs of multiprocessors.

    Attributes
    ----------
    hidden, inter
        Columns of the two GEMMs are 2 · inter and hidden.
    pairs
        Pairs of tiles that run at a time; 0 if unknown: then no wave is rounded up.
    """

    hidden: int
    inter: int
    pairs: int

    @staticmethod
    def of(document: Mapping[str, Any]) -> Shape:
        """Read a measured file's ``meta``; DeepSeek-V3's shape where it says nothing."""
        meta = document.get("meta", {})
        shape, hardware = meta.get("shape", {}), meta.get("hardware", {})
        hidden = int(shape.get("hidden", 7168))
        return Shape(hidden, int(shape.get("moe_intermediate", 2048)), hardware.get("sms", 0) // 2)

    def waves(self, units: float, side: int) -> tuple[float, float]:
        """Return waves of both GEMMs, whole and exact, in units of a wave of the first one.

        Parameters
        ----------
        units
            Pairs of tiles that lie above each other, over all experts.
        side
            Columns of one.
        """
        first, second = units * (2 * self.inter / side), units * (self.hidden / side)
        pairs = max(self.pairs, 1)
        depth = self.inter / self.hidden  # of the second GEMM against the first
        exact = (first + second * depth) / pairs
        if not self.pairs:
            return exact, exact
        return float(np.ceil(first / pairs) + np.ceil(second / pairs) * depth), exact


@dataclass(frozen=True)
class GemmCurve:
    """Time of the grouped GEMMs of a rank, activation included, from the rows of its experts.

    T = a + b · waves + c · exact waves + d · half-filled last pairs of tiles + e · active experts
    + f · rows + g · Σ 1/rows. The last term, up to the knee only: the blocks of an expert
    with few rows all read these few.

    Attributes
    ----------
    shape
        Of the experts and the chip.
    knee
        Mean rows of an expert, empty ones counted, rounded down.
    narrow, wide
        (7,) constants in µs up to the knee and beyond it, all at least 0.
    spread
        Standard deviation of measured over predicted time, up to the knee and beyond it.
    """

    shape: Shape
    knee: int
    narrow: NDArray[np.float64]
    wide: NDArray[np.float64]
    spread: tuple[float, float]

    def predict_us(self, counts: NDArray[np.float64]) -> float:
        """Return the time for (experts,) rows."""
        wide = _is_wide(counts, self.knee)
        features = _features(counts, wide, self.shape)
        return float(features @ (self.wide if wide else self.narrow))

    def spread_us(self, counts: NDArray[np.float64]) -> float:
        """Return the standard deviation of the time for (experts,) rows."""
        return self.spread[_is_wide(counts, self.knee)] * self.predict_us(counts)


def fit_gemm_curve(documents: Sequence[Mapping[str, Any]]) -> GemmCurve:
    """Fit the curve to the ``grouped_uniform`` and ``grouped_skewed`` sweeps of some files.

    The knee is the one with which the sweeps are fitted best.

    Raises
    ------
    InputError
        If there is no uniform sweep over at least three row counts.
    """
    sweeps: list[tuple[NDArray[np.float64], float]] = []
    counts_seen = set()
    for calib in (document["calib"] for document in documents):
        for entry in calib.get("grouped_uniform", []):
            counts_seen.add(entry["tokens_per_expert"])
            rows = np.full(entry["experts"], float(entry["tokens_per_expert"]))
            sweeps.append((rows, slowest(entry, "total_us")))
        sweeps.extend(
            (np.asarray(entry["counts"], float), slowest(entry, "total_us"))
            for entry in calib.get("grouped_skewed", [])
        )
    if len(counts_seen) < 3:
        raise InputError("the sweep grouped_uniform needs at least three values tokens_per_expert")
    shape = next((Shape.of(each) for each in documents if Shape.of(each).pairs),
                 Shape.of(documents[0]))  # fmt: skip
    found = [_fitted(shape, knee, sweeps) for knee in KNEES]
    return min(found, key=lambda each: each[0])[1]


def slowest(entry: Mapping[str, Any], key: str) -> float:
    """Return a time, of the slowest rank if there are several.

    Raises
    ------
    ValueError
        If it is no positive number.
    """
    value = entry[key]
    return positive_us(max(value) if isinstance(value, list) else value, key)


def positive_us(value: Any, key: str) -> float:
    """Return a measured time.

    Raises
    ------
    ValueError
        If it is no positive number; with its key.
    """
    time = float(value)
    if not 0 < time < np.inf:
        raise ValueError(f"{key} is {value}, not a positive time")
    return time


def expected_slowest_us(mean: NDArray[np.float64], spread: NDArray[np.float64]) -> float:
    """Return the mean of the largest of independent normal times.

    The slowest of many ranks is slower than its own prediction: ∫ 1 − Π Φ((x − mean) / spread) dx.
    """
    from scipy.special import ndtr

    top = float(mean.max())
    if not spread.any():
        return top
    start = float((mean - 4 * spread).max())
    x = np.linspace(start, float((mean + 5 * spread).max()), 201)
    below = ndtr((x[:, None] - mean) / np.maximum(spread, 1e-9)).prod(axis=1)
    return start + float(np.trapezoid(1.0 - below, x))


def _is_wide(counts: NDArray[np.float64], knee: int) -> bool:
    return bool(counts.sum() // counts.size > knee)


def _features(counts: NDArray[np.float64], wide: bool, shape: Shape) -> NDArray[np.float64]:
    active = counts[counts > 0]
    side = WIDE if wide else NARROW
    whole, exact = shape.waves(float(np.ceil(active / side).sum()), side)
    last = active % side
    half = float(((last > 0) & (last <= side / 2)).sum())
    few = 0.0 if wide else float((1 / active).sum())
    return np.array([1.0, whole, exact, half, float(active.size), active.sum(), few])


def _spread_within(counts: Sequence[NDArray[np.float64]], error: NDArray[np.float64]) -> float:
    """Return the standard deviation of errors among loads of as many experts and like mean rows.

    What such loads have in common makes all ranks of a layer slower alike; only the rest makes
    one of them the slowest.
    """
    groups: dict[tuple[int, int], list[float]] = defaultdict(list)
    for each, value in zip(counts, error, strict=True):
        groups[each.size, round(float(np.log2(max(each.mean(), 1.0))))].append(float(value))
    squares = sum(float(((np.array(g) - np.mean(g)) ** 2).sum()) for g in groups.values())
    freedom = sum(len(g) - 1 for g in groups.values())
    return float(np.sqrt(squares / freedom)) if freedom else 0.0


def _fitted(
    shape: Shape, knee: int, sweeps: Sequence[tuple[NDArray[np.float64], float]]
) -> tuple[float, GemmCurve]:
    """Return how badly the curve fits with this knee, and the curve."""
    from scipy.optimize import nnls

    constants, spread, errors = [], [], []
    for wide in (False, True):
        own = [each for each in sweeps if _is_wide(each[0], knee) == wide]
        chosen = own if len(own) >= LEAST_POINTS else sweeps  # all there is
        time = np.array([t for _, t in chosen])
        features = np.array([_features(counts, wide, shape) for counts, _ in chosen])
        constants.append(nnls(features / time[:, None], np.ones(len(time)))[0])
        error = features @ constants[-1] / time - 1
        spread.append(_spread_within([counts for counts, _ in chosen], error))
        if own:
            errors.append(np.abs(error))
    error = np.concatenate(errors)
    curve = GemmCurve(shape, knee, constants[0], constants[1], (spread[0], spread[1]))
    return float(np.median(error) + np.quantile(error, 0.9)), curve
