from __future__ import annotations

from itertools import permutations
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from moeplace.formulations.qap.instance import Instance

MAX_SIZE = 8
"""All 40,320 permutations of 8 are priced in some hundredths of a second."""


def best_of_all(instance: Instance) -> NDArray[np.int64]:
    """Return a permutation of least cost, found by pricing all of them; n ≤ 8."""
    size = instance.size
    every = np.array(list(permutations(range(size))), dtype=np.int64)
    distance = instance.given_distance[every[:, :, None], every[:, None, :]]
    costs = np.einsum("kij,ij->k", distance, instance.given_flow)
    best: NDArray[np.int64] = every[np.argmin(costs)]
    return best
