from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from moeplace.errors import LimitError
from moeplace.formulations.exact.linear_model import CONTINUOUS, FRACTION

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from moeplace.formulations.exact.linear_model import LinearModel

NEAR = 1e-6  # a coefficient this close to a whole number is one
ROW_BITS = 30  # coefficients of other rows are rounded to this share of the largest
MOST_MULTIPLES = 64  # tried to make the coefficients of costs whole
OVERFLOW = 2.0**62


@dataclass(frozen=True, eq=False)
class WholeRows:
    """Rows Σ value · x ≤ upper (and ≥ lower for equations) in whole numbers.

    Every solution of the program, its continuous variables rounded up, keeps them: coefficients
    are rounded down (all variables are at least 0), limits up.
    """

    start: NDArray[np.int64]
    column: NDArray[np.int64]
    value: NDArray[np.int64]
    lower: NDArray[np.int64]
    upper: NDArray[np.int64]


def whole_rows(program: LinearModel, scale: NDArray[np.float64]) -> WholeRows:
    """Return the program's rows in whole numbers.

    Raises
    ------
    LimitError
        If the numbers could leave 64 bits.
    """
    from scipy.sparse import csr_array, diags_array, vstack

    equal = program.row_lower == program.row_upper
    above = np.flatnonzero(np.isfinite(program.row_upper))
    below = np.flatnonzero(np.isfinite(program.row_lower) & ~equal)
    scaled = program.matrix @ diags_array(1 / scale)
    matrix = csr_array(vstack([scaled[above], -scaled[below]]))
    matrix.sort_indices()
    limit = np.concatenate([program.row_upper[above], -program.row_lower[below]])
    equation = np.concatenate([equal[above], np.zeros(below.size, bool)])
    start, column, data = matrix.indptr.astype(np.int64), matrix.indices, matrix.data
    row = np.repeat(np.arange(limit.size), np.diff(start))
    kind = program.kind[column]
    soft = (kind == CONTINUOUS) | (kind == FRACTION)
    factor = _factors(limit.size, row, kind, data, scale[column])
    value = data * factor[row]
    bound = limit * factor
    nearest = np.rint(value)
    near = np.abs(value - nearest) <= (0.5 if program.grain else NEAR)
    exact = np.bincount(row, ~near, minlength=limit.size) == 0
    whole = np.where(near, nearest, np.floor(value))
    if (equation & ~(exact & (np.abs(bound - np.rint(bound)) <= NEAR))).any():
        raise LimitError("an equation of the program is not in whole numbers; use exact-milp")
    # Rounding a continuous variable up may add its coefficient, in exact rows less than that.
    lifted = np.bincount(row, np.where(soft, np.maximum(whole, 0), 0), minlength=limit.size)
    slack = np.where(exact, np.maximum(lifted - 1, 0), lifted)
    hard = np.bincount(row, soft, minlength=limit.size) == 0
    ceiling = np.where(exact & hard, np.floor(bound + NEAR), np.ceil(bound - NEAR) + slack)
    reach = np.bincount(row, np.abs(whole) * (program.upper * scale)[column], minlength=limit.size)
    if (reach + np.abs(ceiling) > OVERFLOW).any():
        raise LimitError("the program's numbers are too large for CP-SAT; use exact-milp")
    upper = ceiling.astype(np.int64)
    lowest = -np.ceil(reach).astype(np.int64) - 1  # not −2^63, which overflows in presolve
    lower = np.where(equation, upper, np.minimum(lowest, upper))
    return WholeRows(start, column, whole.astype(np.int64), lower, upper)


def _factors(
    rows: int,
    row: NDArray[np.int64],
    kind: NDArray[np.int8],
    data: NDArray[np.float64],
    scale: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Return (rows,) what to multiply each row with before rounding."""
    largest = np.zeros(rows)
    np.maximum.at(largest, row, np.abs(data))
    whole = np.bincount(row, np.abs(data - np.rint(data)) > NEAR, minlength=rows) == 0
    factor = np.where(whole, 1.0, 2.0**ROW_BITS / np.where(largest > 0, largest, 1.0))
    for soft in (FRACTION, CONTINUOUS):  # rows with costs go by the costs
        ours = kind == soft
        if not ours.any():
            continue
        size = np.zeros(rows)
        np.maximum.at(size, row[ours], scale[ours])
        given = data[ours] * scale[ours]
        multiple = np.ones(rows)
        for number in range(MOST_MULTIPLES, 0, -1):
            off = np.abs(given * number - np.rint(given * number)) > NEAR
            multiple[np.bincount(row[ours], off, minlength=rows) == 0] = number
        factor = np.where(size > 0, size * multiple, factor)
    return factor


def add_constraints(model: Any, rows: WholeRows, variables: list[Any]) -> None:
    """Add the rows to a CP-SAT model."""
    from ortools.sat.python import cp_model

    start, column, value = rows.start.tolist(), rows.column.tolist(), rows.value.tolist()
    weighted = cp_model.LinearExpr.weighted_sum
    for number, (lower, upper) in enumerate(
        zip(rows.lower.tolist(), rows.upper.tolist(), strict=True)
    ):
        here = slice(start[number], start[number + 1])
        held = [variables[j] for j in column[here]]
        model.add_linear_constraint(weighted(held, value[here]), lower, upper)
