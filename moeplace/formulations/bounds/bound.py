from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Bound:
    """A proven lower bound on a problem's objective.

    Attributes
    ----------
    value
        Sum over the layers, in the objective's unit.
    method
        The theorem that gave it (for ``time``, one per term).
    terms
        What each part or each theorem gave, summed over the layers.
    layer_value
        (layers,) bound of each layer.
    """

    value: float
    method: str
    terms: Mapping[str, float]
    layer_value: NDArray[np.float64]
