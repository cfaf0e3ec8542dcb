"""What a certificate proves about touched parts, worked out from its numbers alone.

Written from the theorem in docs/explanation/bounds.md and not from the solver: all set partitions
are listed instead of searched, and the eigenvalues are those of the centered matrix.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from moeplace.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from moeplace.formulations.bounds.partition import Certificate
    from moeplace.formulations.bounds.relaxation import Parts, Rows
    from moeplace.traces import TokenSets

PRICE_UNIT = 1 / 100
MOST_PER_TOKEN = 10
TABLE_ENTRIES = 4_000_000  # of tokens × partitions worked on at a time
SAFETY = 1e-11  # share of the numbers added up that rounding may have changed


@cache
def set_partitions(size: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return (partitions, pairs) 0/1 who is together, and (partitions,) how many parts."""
    labels: list[list[int]] = [[]]
    for _ in range(size):
        labels = [[*row, part] for row in labels for part in range(max(row, default=-1) + 2)]
    table = np.array(labels, np.int64).reshape(len(labels), size)
    first, second = np.triu_indices(size, 1)
    together = (table[:, first] == table[:, second]).astype(float)
    parts = table.max(axis=1, initial=-1) + 1.0
    return together, parts


def proven_touches(
    tokens: TokenSets, certificate: Certificate, parts: Parts, rows: Sequence[Rows]
) -> float:
    """Return the bound on the mean of touched parts that a certificate proves.

    Raises
    ------
    InputError
        If its arrays do not have the shapes of the layer.
    """
    experts = parts.experts
    width = min(tokens.top_k, MOST_PER_TOKEN)
    shapes = (
        (certificate.price.shape, (tokens.num_sets, width * (width - 1) // 2)),
        (certificate.dual.shape, (experts * (experts + 1) // 2,)),
        (certificate.row_dual.shape, (len(rows), experts)),
    )
    for found, wanted in shapes:
        if found != wanted:
            raise InputError(f"certificate of another layer: an array is {found}, not {wanted}")
    numbers = (certificate.dual_unit, certificate.row_dual.min(initial=0.0))
    if not np.isfinite(certificate.row_dual).all() or not np.isfinite(numbers).all():
        raise InputError("certificate: a multiplier is not a finite number")
    if certificate.row_dual.min(initial=0.0) < 0:
        raise InputError("certificate: a multiplier of a cap is negative")
    constant, cost = _token_part(tokens, certificate.price, experts, width)
    for cap, stored in zip(rows, certificate.row_dual.astype(float), strict=True):
        multiplier = stored * min(1.0, cap.budget / stored.sum()) if stored.any() else stored
        cost += (multiplier[:, None] * cap.use + cap.use[:, None] * multiplier) / 2
        given = (
            np.partition(multiplier * cap.slack, experts - cap.loosened)[experts - cap.loosened :]
            if 0 < cap.loosened <= experts
            else (multiplier * cap.slack)[: cap.loosened]
        )
        constant -= multiplier.sum() + given.sum()
    return float(constant + _matrix_part(cost, certificate, parts))


def _token_part(
    tokens: TokenSets, price: NDArray[np.int8], experts: int, width: int
) -> tuple[float, NDArray[np.float64]]:
    """Return c and costs C with Σ w parts ≥ c + ⟨C, X⟩."""
    far = np.where(tokens.ids < 0, experts, tokens.ids)
    ids = np.sort(far, axis=1)[:, :width]
    size = (ids < experts).sum(axis=1)
    weight = tokens.weight / tokens.weight.sum()
    first, second = np.triu_indices(width, 1)
    prices = price * PRICE_UNIT
    constant = 0.0
    for count in np.unique(size):
        rows = np.flatnonzero(size == count)
        inside = second < count  # the pairs of the token's own experts, in the same order
        together, number = set_partitions(int(count))
        step = max(1, TABLE_ENTRIES // number.size)
        for start in range(0, rows.size, step):
            some = rows[start : start + step]
            totals = prices[np.ix_(some, inside)] @ together.T + number
            constant += float(weight[some] @ totals.min(axis=1))
    cost = np.zeros((experts + 1, experts + 1))
    charged = prices * weight[:, None] / 2
    np.subtract.at(cost, (ids[:, first], ids[:, second]), charged)
    cost = (cost + cost.T)[:experts, :experts]
    return constant * (1 - SAFETY), cost


def _matrix_part(cost: NDArray[np.float64], certificate: Certificate, parts: Parts) -> float:
    """Return what ⟨cost, X⟩ is at least for every partition X, from the multiplier Z."""
    from scipy.linalg import eigh

    experts, capacity = parts.experts, parts.capacity
    z = np.zeros((experts, experts))
    z[np.triu_indices(experts)] = certificate.dual * certificate.dual_unit
    z = z + z.T - np.diag(np.diag(z))
    entries = cost + z
    value = float(np.diag(entries).sum())
    others = capacity - 1
    forced = max(0, experts - (parts.parts - 1) * capacity - 1)
    for row in range(experts):
        ascending = np.sort(np.delete(entries[row], row))
        value += ascending[:forced].sum() + np.minimum(ascending[forced:others], 0.0).sum()
    value -= z.sum() / parts.parts
    budget = experts * (1 - 1 / parts.parts)  # the trace of X − J/R
    if experts == parts.parts * capacity:
        center = np.eye(experts) - 1 / experts
        z = center @ z @ center - (np.abs(z).sum() + 1) / experts  # ones cannot be among the first
    for eigenvalue in eigh(z, eigvals_only=True)[::-1]:
        taken = min(float(capacity), budget)
        value -= taken * eigenvalue
        budget -= taken
        if budget <= 1e-12 * experts:
            break
    size = float(np.abs(cost).sum() + np.abs(entries - cost).sum()) * capacity
    return float(value - SAFETY * size)
