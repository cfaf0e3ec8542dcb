"""A mixed-integer linear program as arrays, the same for every backend.

    minimize objective · x   with   row_lower ≤ matrix · x ≤ row_upper,   lower ≤ x ≤ upper

Rows are added in blocks of NumPy arrays, never term by term: a model of 10^5 columns and rows is
a handful of concatenations.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray

CONTINUOUS, INTEGER, IMPLIED, FRACTION = 0, 1, 2, 3


@dataclass(frozen=True, eq=False)
class LinearModel:
    """One program.

    Attributes
    ----------
    objective
        (columns,) costs.
    matrix
        (rows, columns) scipy csr_array.
    row_lower, row_upper, lower, upper
        (rows,) and (columns,) limits; infinite where there is none.
    kind
        (columns,) ``INTEGER``; ``IMPLIED``: continuous, and whole in some optimal solution;
        ``FRACTION``: continuous in [0, 1], rounding it up relaxes the model; ``CONTINUOUS``: a
        cost, at least 0, rounding it up relaxes the model where it is an upper limit.
    grain
        All costs are multiples of it; 0 if that is not known.
    """

    objective: NDArray[np.float64]
    matrix: Any
    row_lower: NDArray[np.float64]
    row_upper: NDArray[np.float64]
    lower: NDArray[np.float64]
    upper: NDArray[np.float64]
    kind: NDArray[np.int8]
    grain: float = 0.0

    @property
    def num_columns(self) -> int:
        """Variables."""
        return int(self.objective.size)

    @property
    def num_rows(self) -> int:
        """Constraints."""
        return int(self.row_lower.size)


@dataclass(frozen=True, eq=False)
class Terms:
    """Linear expressions, one a row: Σ value · x[column] + constant.

    Attributes
    ----------
    row, column, value
        (entries,) coordinates; equal coordinates add up.
    constant
        (rows,) constants.
    """

    row: NDArray[np.int64]
    column: NDArray[np.int64]
    value: NDArray[np.float64]
    constant: NDArray[np.float64]

    @property
    def num_rows(self) -> int:
        """Expressions."""
        return int(self.constant.size)

    def times(self, factor: float) -> Terms:
        """Return the expressions multiplied by a number."""
        return Terms(self.row, self.column, self.value * factor, self.constant * factor)

    def mixed(self, weight: NDArray[np.float64]) -> Terms:
        """Return the expressions ``weight @ self``, weight (new rows, rows)."""
        from scipy.sparse import csr_array

        width = int(self.column.max(initial=-1)) + 1
        own = csr_array((self.value, (self.row, self.column)), shape=(self.num_rows, width))
        mixed = (csr_array(weight) @ own).tocoo()
        row, column = mixed.coords
        return Terms(
            row.astype(np.int64), column.astype(np.int64), mixed.data, weight @ self.constant
        )


def terms(row: ArrayLike, column: ArrayLike, value: ArrayLike, num_rows: int) -> Terms:
    """Return expressions without constants; the arrays are broadcast and flattened.

    Entries with a negative column are left out.
    """
    rows, columns, values = np.broadcast_arrays(row, column, value)
    keep = columns.ravel() >= 0
    return Terms(
        rows.ravel()[keep].astype(np.int64),
        columns.ravel()[keep].astype(np.int64),
        values.ravel()[keep].astype(np.float64),
        np.zeros(num_rows),
    )


def total(parts: Sequence[Terms]) -> Terms:
    """Return the sum of expressions with equally many rows."""
    return Terms(
        np.concatenate([p.row for p in parts]),
        np.concatenate([p.column for p in parts]),
        np.concatenate([p.value for p in parts]),
        np.sum([p.constant for p in parts], axis=0),
    )


class ModelBuilder:
    """Collects columns and rows of a :class:`LinearModel`."""

    def __init__(self) -> None:
        self._lower: list[NDArray[np.float64]] = []
        self._upper: list[NDArray[np.float64]] = []
        self._kind: list[NDArray[np.int8]] = []
        self._rows: list[Terms] = []
        self._row_lower: list[NDArray[np.float64]] = []
        self._row_upper: list[NDArray[np.float64]] = []
        self.num_columns = 0
        self.num_rows = 0

    def columns(
        self,
        shape: int | tuple[int, ...],
        kind: int,
        lower: ArrayLike = 0.0,
        upper: ArrayLike = 1.0,
    ) -> NDArray[np.int64]:
        """Add columns and return their indices in the given shape."""
        index = self.num_columns + np.arange(int(np.prod(shape)), dtype=np.int64).reshape(shape)
        for kept, limit in ((self._lower, lower), (self._upper, upper)):
            kept.append(np.broadcast_to(np.asarray(limit, np.float64), index.shape).ravel())
        self._kind.append(np.full(index.size, kind, np.int8))
        self.num_columns += index.size
        return index

    def upper_limits(self) -> NDArray[np.float64]:
        """Return (columns,) upper limits so far."""
        return np.concatenate(self._upper)

    def constrain(
        self, expression: Terms, lower: ArrayLike = -np.inf, upper: ArrayLike = np.inf
    ) -> None:
        """Add one row for each expression: lower ≤ expression ≤ upper."""
        count = expression.num_rows
        if not count:
            return
        self._rows.append(
            Terms(expression.row + self.num_rows, expression.column, expression.value, np.empty(0))
        )
        for kept, limit in ((self._row_lower, lower), (self._row_upper, upper)):
            kept.append(np.broadcast_to(np.asarray(limit, float), count) - expression.constant)
        self.num_rows += count

    def at_least_each(self, expression: Terms, upper: float = np.inf, lower: float = 0.0) -> Terms:
        """Add a cost column that is at least each expression, and return it as an expression.

        Its upper limit is the largest value an expression can have, or `upper` if that is less.
        """
        limits = self.upper_limits()
        positive = np.maximum(expression.value, 0.0) * limits[expression.column]
        most = np.bincount(expression.row, positive, minlength=expression.num_rows)
        highest = min(float(np.max(most + expression.constant, initial=0.0)), upper)
        column = self.columns(1, CONTINUOUS, lower, max(highest, lower))
        rows = np.arange(expression.num_rows)
        self.constrain(total([expression, terms(rows, column, -1.0, rows.size)]), upper=0.0)
        return terms([0], column, 1.0, 1)

    def build(self, objective: Terms, grain: float = 0.0) -> LinearModel:
        """Return the model that minimizes an expression of one row, its constant left out."""
        from scipy.sparse import csr_array

        cost = np.zeros(self.num_columns)
        np.add.at(cost, objective.column, objective.value)
        none = [np.empty(0, np.int64)]
        matrix = csr_array(
            (
                np.concatenate([np.empty(0), *(r.value for r in self._rows)]),
                (
                    np.concatenate(none + [r.row for r in self._rows]),
                    np.concatenate(none + [r.column for r in self._rows]),
                ),
            ),
            shape=(self.num_rows, self.num_columns),
        )
        matrix.sum_duplicates()
        return LinearModel(
            objective=cost,
            matrix=matrix,
            row_lower=np.concatenate([np.empty(0), *self._row_lower]),
            row_upper=np.concatenate([np.empty(0), *self._row_upper]),
            lower=np.concatenate([np.empty(0), *self._lower]),
            upper=np.concatenate([np.empty(0), *self._upper]),
            kind=np.concatenate([np.empty(0, np.int8), *self._kind]),
            grain=grain,
        )
