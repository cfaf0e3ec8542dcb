"""The best split of tokens over fixed replicas, in closed form, by max-flow.

    min over splits of the largest rank load  =  max over rank sets U of (load confined to U) / |U|

An expert's load is confined to U if all its replicas lie in U. Hall's theorem for a flow from
experts over their ranks: a peak M is enough if and only if no U has more confined load than
M · |U|. Found by Newton's method (Dinkelbach, Management Science 13 (1967)): a cut of the flow at
M names a set U that needs more, and its ratio is the next M.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from moeplace.errors import InfeasibleError

if TYPE_CHECKING:
    from numpy.typing import NDArray

CAPACITY = 2**30  # SciPy's flows are 32-bit whole numbers: all loads together are scaled to this
ENOUGH = 1e-12
MOST_STEPS = 200


@dataclass(frozen=True, eq=False)
class SplitBound:
    """The least largest rank load of any split.

    Attributes
    ----------
    peak
        In the unit of the loads.
    ranks
        (ranks,) the set U whose confined load proves it.
    """

    peak: float
    ranks: NDArray[np.bool_]


def least_peak(
    expert_of_slot: NDArray[np.int32],
    rank_of_slot: NDArray[np.int32],
    load: NDArray[np.float64],
    num_ranks: int,
) -> SplitBound:
    """Return the least largest rank load over all ways to split the experts' loads.

    Exact: M is always the ratio of a set, computed from the loads as given; only the search for a
    violated set is in whole numbers, and ends with a check in floats.

    Parameters
    ----------
    expert_of_slot, rank_of_slot
        (slots,) one layer of a placement; −1 is an empty slot.
    load
        (experts,) loads in any unit, at least 0.
    num_ranks
        R.

    Raises
    ------
    InfeasibleError
        If an expert with load has no replica.
    """
    held = np.zeros((load.size, num_ranks), bool)
    full = expert_of_slot >= 0
    held[expert_of_slot[full], rank_of_slot[full]] = True
    if (load[~held.any(axis=1)] > 0).any():
        raise InfeasibleError("an expert with load has no replica")
    kept = np.flatnonzero(load > 0)
    held, load = held[kept], load[kept]
    best = SplitBound(0.0, np.ones(num_ranks, bool))
    chosen = best.ranks
    for _ in range(MOST_STEPS):
        confined = float(load[~held[:, ~chosen].any(axis=1)].sum())
        peak = confined / int(chosen.sum()) if chosen.any() else 0.0
        if peak <= best.peak * (1 + ENOUGH):
            break
        best = SplitBound(peak, chosen)
        chosen = _violated(held, load, peak)
    return best


def _violated(held: NDArray[np.bool_], load: NDArray[np.float64], peak: float) -> NDArray[np.bool_]:
    """Return the ranks on the source's side of a least cut at a peak."""
    from scipy.sparse import csr_array
    from scipy.sparse.csgraph import breadth_first_order, maximum_flow

    experts, ranks = held.shape
    unit = CAPACITY / float(load.sum())
    supply = np.ceil(load * unit).astype(np.int32)  # up, and room down: misses no violated set
    room = np.int32(peak * unit)
    source, sink = experts + ranks, experts + ranks + 1
    expert, rank = np.nonzero(held)
    tail = np.concatenate([np.full(experts, source), expert, experts + np.arange(ranks)])
    head = np.concatenate([np.arange(experts), experts + rank, np.full(ranks, sink)])
    capacity = np.concatenate([supply, supply[expert], np.full(ranks, room)]).astype(np.int32)
    graph = csr_array((capacity, (tail, head)), shape=(sink + 1, sink + 1))
    flow = maximum_flow(graph, source, sink).flow
    residual = csr_array(graph - flow)
    residual.data = np.where(residual.data > 0, residual.data, 0)
    residual.eliminate_zeros()
    reached = breadth_first_order(residual, source, return_predecessors=False)
    chosen = np.zeros(ranks, bool)
    chosen[reached[(reached >= experts) & (reached < source)] - experts] = True
    return chosen
