from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from moeplace.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

EXACT = 2.0**53
"""Up to here float64 holds every whole number."""

LARGEST = 1e100
"""Larger entries are refused: squares of products must stay below what float64 can hold."""


@dataclass(frozen=True, eq=False)
class Instance:
    """A quadratic assignment problem, checked and in the form that searches and bounds use.

    If one matrix is symmetric, only the symmetric part of the other matters; then both are made
    symmetric and every pair is counted once: cost = Σ_i linear[i, p_i] + Σ_{i<j} flow[i, j] ·
    distance[p_i, p_j]. Otherwise the second sum is over all i, j.

    Attributes
    ----------
    given_flow, given_distance
        (n, n) as they came.
    flow, distance
        (n, n) with zero diagonals.
    linear
        (n, n) what the diagonals cost: facility i at location k.
    symmetric
        Whether `flow` and `distance` are symmetric.
    unit
        Every cost is a multiple of it; 0 if nothing is known (entries that are not whole).
    """

    given_flow: NDArray[np.float64]
    given_distance: NDArray[np.float64]
    flow: NDArray[np.float64]
    distance: NDArray[np.float64]
    linear: NDArray[np.float64]
    symmetric: bool
    unit: float

    @property
    def size(self) -> int:
        """Number of facilities, and of locations."""
        return len(self.flow)

    @cached_property
    def magnitude(self) -> float:
        """A number that no cost exceeds in absolute value."""
        return _magnitude(self.given_flow, self.given_distance)

    def cost(self, permutation: NDArray[np.int64]) -> float:
        """Return Σ flow[i, j] · distance[p_i, p_j] of the matrices as given."""
        return float(
            np.sum(self.given_flow * self.given_distance[np.ix_(permutation, permutation)])
        )


def make_instance(flow: ArrayLike, distance: ArrayLike) -> Instance:
    """Check both matrices and bring them into the common form.

    Raises
    ------
    InputError
        If a matrix is not square, empty, not finite, not numeric, or holds entries beyond 1e100;
        or if the sizes differ.
    """
    given_flow, given_distance = _matrix("flow", flow), _matrix("distance", distance)
    if given_flow.shape != given_distance.shape:
        raise InputError(
            f"flow is {_shape(given_flow)} but distance {_shape(given_distance)}: "
            "give as many locations as facilities (pad flow with zero rows and columns)"
        )
    linear = np.outer(np.diag(given_flow), np.diag(given_distance))
    flow_, distance_ = given_flow.copy(), given_distance.copy()
    np.fill_diagonal(flow_, 0.0)
    np.fill_diagonal(distance_, 0.0)
    symmetric = True
    if (distance_ == distance_.T).all():
        flow_ += flow_.T
    elif (flow_ == flow_.T).all():
        distance_ += distance_.T
    else:
        symmetric = False
    return Instance(
        given_flow=given_flow,
        given_distance=given_distance,
        flow=flow_,
        distance=distance_,
        linear=linear,
        symmetric=symmetric,
        unit=_unit(flow_, distance_, linear, _magnitude(given_flow, given_distance)),
    )


def _matrix(name: str, values: ArrayLike) -> NDArray[np.float64]:
    try:
        matrix = np.array(values, dtype=np.float64, order="C")
    except (TypeError, ValueError) as error:
        raise InputError(f"{name}: cannot be read as a matrix of numbers ({error})") from None
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1] or matrix.size == 0:
        raise InputError(f"{name}: must be a square matrix, got {_shape(matrix)}")
    wrong = np.argwhere(~(np.abs(matrix) <= LARGEST))
    if wrong.size:
        row, column = wrong[0]
        raise InputError(
            f"{name}[{row}, {column}] is {matrix[row, column]}: "
            f"must be finite and at most {LARGEST:g}"
        )
    return matrix


def _shape(matrix: NDArray[np.float64]) -> str:
    return " × ".join(map(str, matrix.shape)) if matrix.ndim else "a single number"


def _magnitude(flow: NDArray[np.float64], distance: NDArray[np.float64]) -> float:
    return float(np.abs(flow).sum() * np.abs(distance).max())


def _unit(
    flow: NDArray[np.float64],
    distance: NDArray[np.float64],
    linear: NDArray[np.float64],
    magnitude: float,
) -> float:
    """Return the greatest common divisor of all terms, or 0 where sums may be inexact."""
    every = (flow, distance, linear)
    if magnitude >= EXACT or any(np.abs(m).max() >= EXACT for m in every):
        return 0.0
    if any((m != np.rint(m)).any() for m in every):
        return 0.0
    divisors = [int(np.gcd.reduce(m.astype(np.int64), axis=None)) for m in every]
    return float(np.gcd(divisors[0] * divisors[1], divisors[2]))
