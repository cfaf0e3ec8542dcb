"""Costs that add up over experts: a transportation problem, whose relaxation is integral.

Without de-duplication every (token, expert) pair travels alone. Then copies and hops are
Σ_e Σ_r cost[e, r] · x[e, r], x with one rank an expert and at most `slots` experts a rank. The
rows are totally unimodular, so the linear program has a whole solution; solved as an assignment of
experts to slots.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from moeplace.errors import InfeasibleError, InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from moeplace.placement import Problem


@dataclass(frozen=True, eq=False)
class Transport:
    """Cheapest ranks, layer by layer.

    Attributes
    ----------
    rank_of_expert
        (layers, experts).
    value
        (layers,) the least cost, also of the linear relaxation.
    """

    rank_of_expert: NDArray[np.int64]
    value: NDArray[np.float64]


def cheapest_assignment(cost: NDArray[np.float64], slots_per_rank: int) -> Transport:
    """Return the ranks with the least sum of costs, at most `slots_per_rank` experts on each.

    Complexity: O(layers · experts · slots²) (Jonker–Volgenant).

    Parameters
    ----------
    cost
        (layers, experts, ranks) finite.
    slots_per_rank
        Experts that fit on a rank.

    Raises
    ------
    InfeasibleError
        If the experts do not fit.
    InputError
        If a cost is not finite.
    """
    from scipy.optimize import linear_sum_assignment

    layers, experts, ranks = cost.shape
    if experts > ranks * slots_per_rank:
        raise InfeasibleError(f"{experts} experts do not fit into {ranks} x {slots_per_rank} slots")
    if not np.isfinite(cost).all():
        raise InputError("costs of experts on ranks must be finite")
    found = np.empty((layers, experts), np.int64)
    value = np.empty(layers)
    for layer in range(layers):
        row, slot = linear_sum_assignment(np.repeat(cost[layer], slots_per_rank, axis=1))
        found[layer, row] = slot // slots_per_rank
        value[layer] = cost[layer, np.arange(experts), found[layer]].sum()
    return Transport(found, value)


def linear_rank_cost(problem: Problem) -> NDArray[np.float64] | None:
    """Return (layers, experts, ranks) costs that add up to the objective, None if none do.

    They do for ``copies`` and ``hops`` without de-duplication, when nothing ties experts together.
    A second replica never helps under an even split: it costs the mean over its expert's ranks,
    so the dearest can be dropped. So the least cost without replicas is the least of all.
    """
    linear = problem.objective in ("copies", "hops") and problem.dedup == "none"
    free = problem.max_moves is None and problem.max_load is None and not problem.groups_on_nodes
    plain = problem.dispatch == "even" or (problem.dispatch != "cover" and not problem.redundant)
    if not (linear and free and plain) or problem.scenarios or problem.execution != "return":
        return None
    plan = problem.plan
    cost = plan.uniform_messages
    if problem.objective == "hops":
        cost = plan.uniform_use[0].sum(axis=0)
    pairs = float(problem.tokens * problem.top_k)
    per_rank = cost @ plan.members.astype(float)
    found: NDArray[np.float64] = pairs * problem.load_share[:, :, None] * per_rank
    return found
