"""What a copy costs between two ranks, as the chain methods see an objective."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from moeplace.placement import Problem


@dataclass(frozen=True, eq=False)
class Prices:
    """Linear prices of one token's copies; exact for ``copies`` and ``hops``, a guide for ``time``.

    Attributes
    ----------
    distance
        (ranks, ranks) of a dispatched copy; 0 at home.
    touch
        Of every touched rank, for the combine.
    load
        Seconds of the whole load on one rank, 0 where loads do not count.
    """

    distance: NDArray[np.float64]
    touch: float
    load: float


def prices(problem: Problem) -> Prices:
    """Return the prices under the problem's objective.

    ``copies``: 1 between ranks. ``hops``: links of the route. ``time``: the seconds that a copy
    adds to the links of its route if all links of the same bandwidth share the traffic alike; of
    kernel time the slope of a token-bound rank. Exact for ``copies`` and ``hops`` unless the kernel
    merges
    copies to a node or along a tree.
    """
    ranks, topology = problem.num_ranks, problem.system.topology
    if problem.objective == "hops":
        return Prices(topology.hops().astype(np.float64), 0.0, 0.0)
    if problem.objective != "time":
        return Prices(1.0 - np.eye(ranks), 0.0, 0.0)
    _, alike, count = np.unique(topology.bandwidth_Bps, return_inverse=True, return_counts=True)
    share = 1.0 / (topology.bandwidth_Bps * count[alike])
    sizes = problem.system.copy_bytes(problem.model.payload_size)
    scale = problem.system.in_situ_factor * problem.tokens
    distance = np.zeros((ranks, ranks))
    for a in range(ranks):
        for b in range(ranks):
            distance[a, b] = scale * sizes[0] * share[topology.route(a, b)].sum()
    away = distance[~np.eye(ranks, dtype=bool)]
    touch = float(away.mean()) * sizes[1] / sizes[0] if away.size else 0.0
    _, _, per_token = problem.compute_constants
    return Prices(distance, touch, per_token * problem.tokens * problem.top_k)
