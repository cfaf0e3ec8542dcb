"""What every backend takes and returns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from moeplace.formulations.exact.linear_model import LinearModel

Hint = tuple["NDArray[np.int64]", "NDArray[np.float64]"]


@dataclass(frozen=True, eq=False)
class Outcome:
    """What a backend found.

    Attributes
    ----------
    values
        (columns,) of the best solution, None if it found none.
    bound
        Proven lower bound on the model's objective, None without one.
    proven
        Whether nothing better than `values`, or than the limit on the objective, exists.
    infeasible
        Whether the backend proved that there is no solution; never with a hint.
    """

    values: NDArray[np.float64] | None
    bound: float | None
    proven: bool
    infeasible: bool = False


class Backend(Protocol):
    """The seam between programs and solvers."""

    def __call__(
        self, model: LinearModel, hint: Hint | None, seconds: float | None, seed: int
    ) -> Outcome:
        """Minimize `model`; `hint` names columns and values of a known solution."""
        ...
