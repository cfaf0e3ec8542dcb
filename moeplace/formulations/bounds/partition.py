"""A strong lower bound on the parts that tokens touch, with numbers that anybody can check."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from moeplace.clock import monotonic
from moeplace.formulations.bounds.relaxation import (
    Parts,
    Relaxation,
    Rows,
    dual_value,
    with_rows,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from moeplace.traces import TokenSets

MOST_PER_TOKEN = 10  # experts of a token that are looked at; parts of fewer are a bound too
WARM_UP, ROUNDS, LAST = 60, 90, 120  # ADMM steps with chords, with prices, with fixed prices
CHORD_STEPS = 5  # between two choices of chords
PENALTY, SEARCHES = 0.5, 2  # of a token's copy of X; partitions that a step looks for
SETTLED = 1e-5  # relative gain of twenty steps below which the bound is as good as it gets
CHORD_BLUR = 0.25
PRICE_UNIT = 1 / 100  # prices are kept in whole units, in 8 bits
DUAL_LEVELS = 32_000  # the multiplier is kept in 16 bits


@dataclass(frozen=True, eq=False)
class Certificate:
    """What proves a bound on the touched parts of one layer's tokens.

    Attributes
    ----------
    price
        (tokens, pairs) int8, prices of each token's pairs in units of 1/100.
    dual
        (experts · (experts + 1) / 2,) int16, upper triangle of the multiplier Z.
    dual_unit
        What one unit of `dual` stands for.
    row_dual
        (rows, experts) float32 multipliers ≥ 0 of the caps.
    """

    price: NDArray[np.int8]
    dual: NDArray[np.int16]
    dual_unit: float
    row_dual: NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class TouchedParts:
    """A bound on the mean number of parts that a token touches, and its proof.

    Attributes
    ----------
    value
        The bound: of the parts, plus the multipliers times what caps with a budget are exceeded by.
    """

    value: float
    certificate: Certificate


def leading_experts(sets: TokenSets) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """Return (tokens, k) experts with pads last, at most ten a token, and how many each has."""
    ids = np.sort(np.where(sets.ids >= 0, sets.ids, np.iinfo(np.int32).max), axis=1)
    ids = np.ascontiguousarray(ids[:, :MOST_PER_TOKEN])
    there = ids < np.iinfo(np.int32).max
    return np.where(there, ids, 0).astype(np.int32), there.sum(axis=1).astype(np.int64)


def touched_parts(
    sets: TokenSets, parts: Parts, rows: tuple[Rows, ...] = (), *, time_limit_s: float | None = None
) -> TouchedParts:
    """Bound the mean number of parts that a token's experts lie on, over all partitions.

    The value of a token is the least, over the partitions of its own experts, of their number
    plus prices of pairs that are together; the prices are then charged to the relaxation of
    :mod:`~moeplace.formulations.bounds.relaxation`. After a start with chords, prices and
    multipliers are improved together by ADMM: one copy of X has the right eigenvalues, one has the
    right entries, and every token has its own, a mixture of partitions of its experts. Any prices
    and multipliers prove a bound, so stopping early only weakens it.

    Parameters
    ----------
    sets
        One layer's tokens.
    parts
        Number of parts and their capacity.
    rows
        Caps on what shares a part.
    time_limit_s
        Seconds to use; without it the number of rounds is fixed.

    Returns
    -------
    TouchedParts
        Valid for the mean over any random partitions as well.

    References
    ----------
    Doubly nonnegative relaxation of partition problems by ADMM: A. Wiegele, S. Zhao, "SDP-based
    bounds for graph partition via extended ADMM", Computational Optimization and Applications 82
    (2022). The prices on pairs of a token's experts, a bound on the number of parts of which
    chords of 1/k are a special case: own derivation, docs/explanation/bounds.md.
    """
    from threadpoolctl import threadpool_limits

    from moeplace.formulations.bounds.price_kernels import ATOMS, step_prices
    from moeplace.formulations.bounds.token_kernels import least_parts

    end = None if time_limit_s is None else monotonic() + time_limit_s
    ids, size = leading_experts(sets)
    weight = sets.weight / sets.weight.sum()
    experts = parts.experts
    with threadpool_limits(1, "blas"):
        run = Relaxation(parts, rows)
        seen = run.together.copy()
        price = chord_prices(ids, size, seen)
        _, pairs = least_parts(ids, size, weight, price, experts)
        scale = max(float(pairs.mean()), 1e-12)
        for number in range(WARM_UP):
            run.step(pairs, scale)
            seen += min(1.0, 4 / (number // CHORD_STEPS + 3) / CHORD_STEPS) * (run.together - seen)
            if number % CHORD_STEPS == CHORD_STEPS - 1:
                price = chord_prices(ids, size, seen)
                _, pairs = least_parts(ids, size, weight, price, experts)
            if _past(end, 0.35, time_limit_s):
                break
        atom = np.zeros((len(ids), ATOMS), np.int64)
        parts_of_atom, share = np.zeros((2, len(ids), ATOMS))
        _, pull = least_parts(ids, size, weight, np.ones_like(price), experts)
        pull *= PENALTY
        for _ in range(ROUNDS):
            if _past(end, 0.25, time_limit_s):
                break
            pairs, wished = step_prices(
                ids, size, weight, run.together, price,
                atom, parts_of_atom, share, PENALTY, SEARCHES,
            )  # fmt: skip
            run.step(pairs, scale, PENALTY * wished, pull)
        kept = np.rint(price / PRICE_UNIT).astype(np.int8)
        constant, pairs = least_parts(ids, size, weight, kept * PRICE_UNIT, experts)
        best: TouchedParts | None = None
        for number in range(LAST):
            run.step(pairs, scale)
            last = number == LAST - 1 or _past(end, 0.0, time_limit_s)
            if number % 20 == 19 or last:
                found = _certified(run, kept, constant, pairs)
                settled = best is not None and found.value <= best.value * (1 + SETTLED)
                if best is None or found.value > best.value:
                    best = found
                last = last or settled
            if last:
                break
    if best is None:
        raise AssertionError("unreachable: the last step is always certified")
    return best


def chord_prices(
    ids: NDArray[np.int32], size: NDArray[np.int64], together: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return (tokens, pairs) slopes of chords of 1/k, at how many share each expert's part.

    With k_i the experts on the part of expert i, the parts are Σ_i 1/k_i, and 1/k is at least the
    chord between m and m + 1, whose slope is −1/(m (m + 1)); blurred a little around integers.
    """
    width = ids.shape[1]
    there = np.arange(width)[None, :] < size[:, None]
    shared = np.zeros(ids.shape)
    for j in range(width):
        shared += together[ids, ids[:, j : j + 1]] * there[:, j : j + 1]
    slope = (_chord_sum(shared + CHORD_BLUR, width) - _chord_sum(shared - CHORD_BLUR, width)) / (
        2 * CHORD_BLUR
    )
    first, second = np.triu_indices(width, 1)
    return np.ascontiguousarray(slope[:, first] + slope[:, second])


def _chord_sum(value: NDArray[np.float64], most: int) -> NDArray[np.float64]:
    """Return the integral of the chords' slopes 1/(m (m + 1)), m = ⌊u⌋, at least 1."""
    m = np.arange(1, most + 2)
    slope = 1 / (m * (m + 1))
    before = np.concatenate([[0.0], np.cumsum(slope)])
    inside = np.clip(value, 1, most + 1)
    at = np.minimum(inside.astype(np.int64), most)
    summed: NDArray[np.float64] = before[at - 1] + (inside - at) * slope[at - 1]
    return np.where(value < 1, (value - 1) * 0.5, summed)


def _certified(
    run: Relaxation, price: NDArray[np.int8], constant: float, pairs: NDArray[np.float64]
) -> TouchedParts:
    unit = float(np.abs(run.dual).max()) / DUAL_LEVELS or 1.0
    upper = np.triu_indices(run.parts.experts)
    certificate = Certificate(
        price,
        np.rint(run.dual[upper] / unit).astype(np.int16),
        unit,
        np.array(run.row_dual, np.float32).reshape(len(run.rows), run.parts.experts),
    )
    value = proven_value(certificate, constant, pairs, run.parts, run.rows)
    return TouchedParts(value, certificate)


def proven_value(
    certificate: Certificate,
    constant: float,
    pairs: NDArray[np.float64],
    parts: Parts,
    rows: tuple[Rows, ...],
) -> float:
    """Return the bound that rounded multipliers prove, less what rounding may have added."""
    dual = np.zeros((parts.experts, parts.experts))
    dual[np.triu_indices(parts.experts)] = certificate.dual * certificate.dual_unit
    dual += np.triu(dual, 1).T
    row_dual = [
        row * min(1.0, cap.budget / max(float(row.sum()), 1e-300))
        for row, cap in zip(certificate.row_dual.astype(np.float64), rows, strict=True)
    ]
    shift, cost = with_rows(pairs, rows, row_dual)
    value, rounding = dual_value(cost, dual, parts)
    return constant * (1 - 1e-12) + shift + value - rounding


def _past(end: float | None, left: float, limit_s: float | None) -> bool:
    """Return whether less than a share `left` of the time is left."""
    if end is None or limit_s is None:
        return False
    return monotonic() > end - left * limit_s
