from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    from numpy.typing import NDArray

    from moeplace.formulations.bounds.touched import TouchProof

EFFORTS = ("fast", "strong")


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
    theorems
        What every theorem that was tried gave, also inside the terms of ``time``; touches are
        means over the layers.
    effort
        ``fast``, or ``strong`` with `proofs`.
    proofs
        Touched parts that were proven with certificates.
    scenarios
        Bounds of a robust problem's scenarios.
    """

    value: float
    method: str
    terms: Mapping[str, float]
    layer_value: NDArray[np.float64]
    theorems: Mapping[str, float] = field(default_factory=dict)
    effort: str = "fast"
    proofs: tuple[TouchProof, ...] = ()
    scenarios: tuple[Bound, ...] = ()
