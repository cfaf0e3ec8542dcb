from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from moeplace.formulations.qap.budget import Budget
    from moeplace.formulations.qap.instance import Instance

PATIENCE = 10
"""Rounds without improvement after which the step is halved, from the best point so far."""

SHORTEST = 1e-4
"""The ascent ends when the step is down to this share of Polyak's."""


class SplitBound:
    """A bound on a symmetric instance: part of the flow bounded by rows, the rest by eigenvalues.

    With A the flow (every pair counted twice), B the distance, both symmetric with zero diagonals,
    and C the linear costs, write A = (L + Lᵀ)/2 + S − diag(d) for any L with a zero diagonal and
    any d, S having the diagonal d. Then for every permutation matrix X

        ⟨A, X B Xᵀ⟩ = ⟨L, X B Xᵀ⟩ + ⟨S, X B Xᵀ⟩

    because B is symmetric and has a zero diagonal. The first term is at least ⟨G(L), X⟩ with
    Gilmore and Lawler's least scalar products. With V an orthonormal basis of the vectors that sum
    to 0, and row sums r and totals s, the second is [1]_

        ⟨VᵀSV, Y VᵀBV Yᵀ⟩ + ⟨(2/n) r_S r_Bᵀ, X⟩ − s_S s_B / n²,   Y orthogonal,

    whose first part is at least the least scalar product of the eigenvalues. So one assignment
    problem with G(L) + (2/n) r_S r_Bᵀ + C gives a bound. It is concave in (L, d): subgradient
    ascent with Polyak's steps improves it. L = 0 gives the projection bound, L = A the
    Gilmore–Lawler bound; the ascent starts at the better one. Which matrix is called the flow
    matters: `swapped` exchanges them. A round takes O(n³).

    Attributes
    ----------
    value
        The best bound so far, before anything is given away for rounding.
    size
        Size of the numbers that were added for it.
    method
        ``gilmore-lawler``, ``projection`` or ``split``.

    References
    ----------
    .. [1] S. W. Hadley, F. Rendl, H. Wolkowicz, "A new lower bound via projection for the
       quadratic assignment problem", Mathematics of Operations Research 17 (1992).
    """

    def __init__(self, instance: Instance, swapped: bool) -> None:
        flow, distance, linear = instance.flow, instance.distance, instance.linear
        if swapped:
            flow, distance, linear = distance, flow, linear.T
        self._flow = 0.5 * flow
        self._linear = linear
        size = len(flow)
        self._basis = _basis(size)
        self._columns = np.arange(size - 1) + (np.arange(size - 1) >= np.arange(size)[:, None])
        rows = np.take_along_axis(distance, self._columns, axis=1)
        self._falling = np.sort(rows, axis=1)[:, ::-1].copy()
        eigenvalues = np.linalg.eigvalsh(self._basis.T @ distance @ self._basis)
        self._falling_eigenvalues = eigenvalues[::-1].copy()
        self._row_sums = distance.sum(axis=1)
        self._norm = float(np.linalg.norm(distance))
        self.value, self.size, self.method = -np.inf, 0.0, ""
        self._step = 1.0
        diagonal = np.zeros(size)
        for part, method in ((np.zeros_like(flow), "projection"), (self._flow, "gilmore-lawler")):
            if self._record(self._evaluate(part, diagonal)[0], part, diagonal):
                self.method = method

    def climb(self, incumbent: float, rounds: int, budget: Budget) -> None:
        """Improve the bound for some rounds, or until nothing is gained any more."""
        part, diagonal = self._best
        idle = 0
        for _ in range(rounds):
            if self._step < SHORTEST or not budget.left():
                return
            budget.spend(1)
            value, up_part, up_diagonal = self._evaluate(part, diagonal)
            length = float((up_part**2).sum() + (up_diagonal**2).sum())
            if self._record(value, part, diagonal):
                idle = 0
                self.method = "split"
            else:
                idle += 1
            if length == 0.0 or value >= incumbent:
                return
            if idle > PATIENCE:
                self._step *= 0.5
                idle = 0
                part, diagonal = self._best
                value, up_part, up_diagonal = self._evaluate(part, diagonal)
                length = float((up_part**2).sum() + (up_diagonal**2).sum())
            step = self._step * (incumbent - value) / length
            part = part + step * up_part
            diagonal = diagonal + step * up_diagonal

    def _record(
        self, value: float, part: NDArray[np.float64], diagonal: NDArray[np.float64]
    ) -> bool:
        if not value > self.value:
            return False
        self.value = value
        self._best = part, diagonal
        rest = self._rest(part, diagonal)
        sizes = np.linalg.norm(part) + np.linalg.norm(rest)
        self.size = float(sizes * self._norm + np.abs(self._linear).sum())
        return True

    def _rest(
        self, part: NDArray[np.float64], diagonal: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        rest: NDArray[np.float64] = self._flow - 0.5 * (part + part.T)
        np.fill_diagonal(rest, diagonal)
        return rest

    def _evaluate(
        self, part: NDArray[np.float64], diagonal: NDArray[np.float64]
    ) -> tuple[float, NDArray[np.float64], NDArray[np.float64]]:
        """Return the bound at a point and its supergradient there."""
        from scipy.optimize import linear_sum_assignment

        size = len(part)
        rest = self._rest(part, diagonal)
        rows = np.take_along_axis(part, self._columns, axis=1)
        order = np.argsort(rows, axis=1, kind="stable")
        least = np.take_along_axis(rows, order, axis=1) @ self._falling.T
        cost = least + (2.0 / size) * np.outer(rest.sum(axis=1), self._row_sums) + self._linear
        facility, location = linear_sum_assignment(cost)
        eigenvalues, vectors = np.linalg.eigh(self._basis.T @ rest @ self._basis)
        total = self._row_sums.sum()
        value = (
            cost[facility, location].sum()
            + eigenvalues @ self._falling_eigenvalues
            - rest.sum() * total / size**2
        )
        vectors = self._basis @ vectors
        by_rest = (vectors * self._falling_eigenvalues) @ vectors.T
        by_rest += (2.0 / size) * self._row_sums[location][:, None] - total / size**2
        by_rest = 0.5 * (by_rest + by_rest.T)
        by_part = -by_rest
        by_part_rows = np.take_along_axis(self._columns, order, axis=1)
        matched = np.take_along_axis(by_part, by_part_rows, axis=1) + self._falling[location]
        np.put_along_axis(by_part, by_part_rows, matched, axis=1)
        np.fill_diagonal(by_part, 0.0)
        return float(value), by_part, np.diag(by_rest).copy()


def _basis(size: int) -> NDArray[np.float64]:
    """Return (n, n − 1) orthonormal columns that sum to 0: a Householder reflection's."""
    normal = np.ones(size)
    normal[0] += np.sqrt(size)
    reflection = np.eye(size) - 2.0 * np.outer(normal, normal) / (normal @ normal)
    return reflection[:, 1:]
