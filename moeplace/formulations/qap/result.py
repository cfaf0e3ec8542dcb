from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

OPTIMAL_GAP = 1e-6
"""At most this gap counts as optimal."""


@dataclass(frozen=True, eq=False)
class QapResult:
    """An assignment of facilities to locations, and how far from optimal it can be.

    Attributes
    ----------
    permutation
        (n,) location of each facility.
    cost
        Σ flow[i, j] · distance[permutation[i], permutation[j]].
    lower_bound
        No assignment costs less; None where there was no time to prove anything.
    bound_method
        The theorem behind it: ``enumeration``, ``split``, ``projection``, ``gilmore-lawler``;
        empty without a bound.
    iterations
        Iterations of tabu search done; annealing counts as as many as take as long.
    runtime_s
        Seconds, the bound included.
    seed
        Seed of the random numbers.
    """

    permutation: NDArray[np.int64]
    cost: float
    lower_bound: float | None
    bound_method: str
    iterations: int
    runtime_s: float
    seed: int

    @property
    def gap(self) -> float | None:
        """(cost − bound) / |cost|; 0 where they are equal, None without a bound."""
        if self.lower_bound is None:
            return None
        return relative_gap(self.cost, self.lower_bound)

    @property
    def status(self) -> str:
        """``optimal`` where the gap is at most 1e-6, else ``feasible``."""
        return "optimal" if self.gap is not None and self.gap <= OPTIMAL_GAP else "feasible"


def relative_gap(cost: float, bound: float) -> float:
    """Return (cost − bound) / |cost|; 0 where they are equal, 1 where only the cost is 0."""
    if cost == bound:
        return 0.0
    return (cost - bound) / abs(cost) if cost else 1.0
