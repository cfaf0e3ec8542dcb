"""The doubly nonnegative relaxation of partitions: its dual value, and ADMM steps towards it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

PENALTY, STEP = 8.0, 1.6  # of ADMM, for costs with mean 1
ROW_STEP = 0.3
ROUNDING = 1e-11  # share of all numbers added up that is given away
BISECTIONS = 60


@dataclass(frozen=True, eq=False)
class Parts:
    """Partitions of E experts into R parts of at most c.

    Attributes
    ----------
    experts, parts, capacity
        E, R, c.
    """

    experts: int
    parts: int
    capacity: int

    @property
    def full(self) -> bool:
        """Whether every part must be full."""
        return self.experts == self.parts * self.capacity

    @property
    def fewest(self) -> int:
        """Experts that every part holds at least."""
        return max(0, self.experts - (self.parts - 1) * self.capacity)


@dataclass(frozen=True, eq=False)
class Rows:
    """Caps on what an expert may share its part with: Σ_j use_j X_ij ≤ 1 + slack_i for each i.

    Attributes
    ----------
    use
        (experts,) share of a part's cap that each expert takes.
    slack
        (experts,) what the row of an expert is loosened by if it has a second replica.
    loosened
        At most this many experts are loosened.
    budget
        Largest sum of the multipliers, infinite for caps that must be kept.
    """

    use: NDArray[np.float64]
    slack: NDArray[np.float64]
    loosened: int = 0
    budget: float = np.inf


def dual_value(
    cost: NDArray[np.float64], dual: NDArray[np.float64], parts: Parts
) -> tuple[float, float]:
    """Return a lower bound on ⟨cost, X⟩ over all partitions, and what rounding may add to it.

    For every symmetric `dual` Z, ⟨C, X⟩ = ⟨C + Z, X⟩ − ⟨Z, X⟩. X has a unit diagonal and 0/1
    entries, at least `fewest` − 1 and at most c − 1 ones beside the diagonal of a row; so the
    first term is at least the trace plus, for each row, its smallest entries as far as they must
    be taken or are negative. X has eigenvalues in [0, c], trace E, and X − J/R is positive
    semidefinite; where all parts are full, the all-ones vector is an eigenvector too. So the
    second is at most a sum of the largest eigenvalues of Z [1]_.

    References
    ----------
    .. [1] W. E. Donath, A. J. Hoffman, "Lower bounds for the partitioning of graphs", IBM Journal
       of Research and Development 17 (1973); the nonnegative dual as in A. Lisser, F. Rendl,
       "Graph partitioning using linear and semidefinite programming", Mathematical Programming
       95 (2003).
    """
    total = cost + dual
    experts = parts.experts
    off = total[~np.eye(experts, dtype=bool)].reshape(experts, experts - 1)
    smallest = np.sort(off, axis=1)[:, : parts.capacity - 1]
    must = max(0, parts.fewest - 1)
    first = float(
        np.trace(total) + smallest[:, :must].sum() + np.minimum(smallest[:, must:], 0.0).sum()
    )
    if parts.full:
        basis = orthogonal_to_ones(experts)
        inner = basis.T @ dual @ basis
        eigenvalues = np.linalg.eigvalsh((inner + inner.T) / 2)[::-1]
        second = dual.sum() / parts.parts
        second += parts.capacity * eigenvalues[: parts.parts - 1].sum()
    else:
        eigenvalues = np.linalg.eigvalsh(dual)[::-1]
        trace = experts * (1 - 1 / parts.parts)
        whole = int(trace // parts.capacity)
        second = dual.sum() / parts.parts + parts.capacity * eigenvalues[:whole].sum()
        if whole < experts:
            second += (trace - whole * parts.capacity) * eigenvalues[whole]
    size = float(np.abs(cost).sum() + np.abs(dual).sum()) * parts.capacity
    return first - float(second), ROUNDING * size


def orthogonal_to_ones(size: int) -> NDArray[np.float64]:
    """Return (n, n − 1) orthonormal columns that sum to 0."""
    normal = np.ones(size)
    normal[0] += np.sqrt(size)
    reflection = np.eye(size) - 2.0 * np.outer(normal, normal) / (normal @ normal)
    return reflection[:, 1:]


@dataclass(eq=False)
class Relaxation:
    """An ADMM run: alternates between X with the right eigenvalues and X with the right entries.

    Attributes
    ----------
    together
        (experts, experts) the entrywise feasible X.
    dual
        (experts, experts) the multiplier Z of the split.
    row_dual
        (experts,) multipliers of each of `rows`.
    """

    parts: Parts
    rows: tuple[Rows, ...]
    together: NDArray[np.float64] = field(init=False)
    dual: NDArray[np.float64] = field(init=False)
    row_dual: list[NDArray[np.float64]] = field(init=False)

    def __post_init__(self) -> None:
        experts = self.parts.experts
        self.together = np.full((experts, experts), 1 / self.parts.parts)
        np.fill_diagonal(self.together, 1.0)
        self.dual = np.zeros((experts, experts))
        self.row_dual = [np.zeros(experts) for _ in self.rows]
        self._basis = orthogonal_to_ones(experts) if self.parts.full else None

    def priced(self, pairs: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        """Return constant and costs of −⟨pairs, X⟩ with the rows at their multipliers."""
        return with_rows(pairs, self.rows, self.row_dual)

    def step(
        self,
        pairs: NDArray[np.float64],
        scale: float,
        wished: NDArray[np.float64] | None = None,
        pull: NDArray[np.float64] | None = None,
    ) -> None:
        """Make one ADMM step for the costs −`pairs`, whose mean size is `scale`.

        Tokens that wish for a certain X add `pull` · |X|² / 2 − ⟨`wished`, X⟩.
        """
        _, cost = self.priced(pairs)
        weight = PENALTY * scale
        spectral = self._spectral(self.together + self.dual / weight)
        wanted = weight * spectral - cost - self.dual
        if wished is None or pull is None:
            together = np.clip(wanted / weight, 0.0, 1.0)
        else:
            together = np.clip((wanted + wished) / (weight + pull), 0.0, 1.0)
        np.fill_diagonal(together, 1.0)
        self.dual += STEP * weight * (together - spectral)
        self.together = together
        for number, rows in enumerate(self.rows):
            over = together @ rows.use - 1.0
            pace = ROW_STEP * scale * self.parts.capacity
            raised = np.maximum(self.row_dual[number] + pace * over, 0.0)
            total = float(raised.sum())
            if total > rows.budget:
                raised *= rows.budget / total
            self.row_dual[number] = raised

    def _spectral(self, matrix: NDArray[np.float64]) -> NDArray[np.float64]:
        """Project on the symmetric matrices with the eigenvalues a partition can have."""
        parts, basis = self.parts, self._basis
        shifted = matrix - 1 / parts.parts
        if basis is not None:
            shifted = basis.T @ matrix @ basis
        values, vectors = np.linalg.eigh((shifted + shifted.T) / 2)
        trace = parts.experts * (1 - 1 / parts.parts)
        low, high = float(values.min()) - parts.capacity - 1.0, float(values.max())
        for _ in range(BISECTIONS):
            middle = (low + high) / 2
            if np.clip(values - middle, 0.0, parts.capacity).sum() > trace:
                low = middle
            else:
                high = middle
        kept = np.clip(values - high, 0.0, parts.capacity)
        used = kept > 0
        wide = vectors[:, used] if basis is None else basis @ vectors[:, used]
        projected: NDArray[np.float64] = (wide * kept[used]) @ wide.T + 1 / parts.parts
        return projected


def with_rows(
    pairs: NDArray[np.float64],
    rows: tuple[Rows, ...],
    row_dual: list[NDArray[np.float64]],
) -> tuple[float, NDArray[np.float64]]:
    """Return constant and costs of −⟨pairs, X⟩ plus the rows at multipliers ≥ 0.

    A row of expert i reads Σ_j use_j X_ij ≤ 1, or ≤ 1 + slack_i for at most `loosened` experts:
    the dearest of these are given away.
    """
    cost = -pairs
    constant = 0.0
    for cap, multiplier in zip(rows, row_dual, strict=True):
        half = 0.5 * np.outer(multiplier, cap.use)
        cost = cost + half + half.T
        dearest = np.sort(multiplier * cap.slack)[::-1][: cap.loosened]
        constant -= float(multiplier.sum() + dearest.sum())
    return constant, cost
