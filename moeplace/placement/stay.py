"""``stay`` execution: a token goes on from the rank of its main expert (ExFlow).

**What is counted.** The *anchor* of a token in a layer is the expert with its largest router
weight. Let p_l be the rank that serves the anchor of layer l; p_0 is the token's own rank, uniform
over the ranks. In layer l

* *dispatch*: the token is on p_{l−1} and is sent from there to the ranks that serve its experts of
  layer l, by the destination sets of the dedup mode, as in ``return`` execution from the own rank;
* *combine*: results go to p_l, the rank of the anchor, in the reverse direction of a dispatch from
  p_l to the token's other experts. The anchor's own result is there already.

So with top_k = 1 a layer has one message, from anchor to anchor, and an empty combine: ExFlow's
single all-to-all (Yao et al., arXiv 2401.08383). After the last layer the token stays where it is;
the exchange of new tokens at the end of a step does not depend on the placement and is not counted.
Loads, compute, α, latency and bandwidth are those of ``return`` execution; ``copies`` and ``hops``
count the dispatch, as there. A token without an expert in the layer before starts from a uniform
rank.

**Exactness.** Dispatch depends on the anchor before and the expert set, combine on the anchor and
the expert set: the workload's :class:`~moeplace.traces.AnchoredSets` hold exactly this. With
replicas an expert is served by independent chances that do not depend on where the token is
(dispatch ``even`` and ``lp``), so the place of a token depends on nothing but its last anchor.
Other dispatch policies would need the whole history of a token and are refused.

Not counted, and placement-dependent in reality: attention runs where tokens are, so its balance
follows the anchors.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from moeplace.placement.dispatch import replica_weight, weight_per_rank
from moeplace.placement.knowledge import check_stay

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from moeplace.placement.placement import Placement
    from moeplace.placement.problem import Problem

CERTAIN = 1e-12  # chances this close to 1 are 1: their rounding comes from adding up shares


@dataclass(frozen=True, eq=False)
class StayUse:
    """What one layer sends, per token.

    Attributes
    ----------
    dispatch
        (ranks, sets) copies to each destination set by the rank they start on.
    combine
        (ranks, sets) partial results from each destination set by the rank they go to.
    """

    dispatch: NDArray[np.float64]
    combine: NDArray[np.float64]


def serving_chance(problem: Problem, placement: Placement, layer: int) -> NDArray[np.float64]:
    """Return (experts, ranks) the chance that a rank serves an expert's tokens."""
    weight = replica_weight(
        placement.expert_of_slot[layer],
        placement.rank_of_slot,
        problem.plan.topology.node_of_rank,
        problem.load_share[layer],
        problem.dispatch,
    )
    per_rank = weight_per_rank(
        weight,
        placement.expert_of_slot[layer],
        placement.rank_of_slot,
        problem.num_experts,
        problem.num_ranks,
    )[0]
    chance: NDArray[np.float64] = per_rank / per_rank.sum(axis=1, keepdims=True)
    return chance


def stay_use(
    problem: Problem,
    layer: int,
    before: NDArray[np.float64] | None,
    here: NDArray[np.float64],
    members: NDArray[np.bool_] | None = None,
    *,
    merged: bool | None = None,
) -> StayUse:
    """Return what layer `layer` sends to each destination set.

    Parameters
    ----------
    layer
        Row of the problem.
    before, here
        (experts, ranks) of :func:`serving_chance` in the row before (None for row 0, where tokens
        start on their own rank) and in this one.
    members
        (sets, ranks) destination sets; by default those of the problem's plan.
    merged
        Whether copies to a set are merged; by default unless dedup is ``none``.

    Raises
    ------
    InputError
        If the workload has no anchored sets, or the dispatch policy looks at sources.
    """
    from moeplace.placement.stay_kernels import stay_touches

    check_stay(problem.workload, problem.dispatch)
    rows = (problem.workload.anchored or ())[layer]
    sets = problem.plan.members if members is None else members
    merge = problem.dedup != "none" if merged is None else merged
    inside = here @ sets.T.astype(float)  # (experts, sets)
    inside[inside > 1 - CERTAIN] = 1.0
    expert, number = np.nonzero(inside)
    start = np.zeros(problem.num_experts + 1, np.int64)
    np.cumsum(np.bincount(expert, minlength=problem.num_experts), out=start[1:])
    dispatch, combine = stay_touches(
        rows.ids,
        rows.before if before is not None else np.full_like(rows.before, -1),
        rows.anchor,
        rows.weight,
        start,
        number.astype(np.int64),
        inside[expert, number],
        here if before is None else before,
        here,
        merge,
        sets.shape[0],
    )
    # Loads count top_k pairs for every token, as in return execution, also where sets are padded.
    pairs = float(rows.weight @ (rows.ids >= 0).sum(axis=1))
    scale = 1.0 if merge or not pairs else problem.top_k * float(rows.weight.sum()) / pairs
    return StayUse(dispatch * scale, combine * scale)


@dataclass(frozen=True, eq=False)
class StayCrossings:
    """What one layer puts on the links, per token.

    Attributes
    ----------
    dispatch, combine
        (links,) crossings.
    copies
        Dispatched copies that leave their rank.
    latency_s
        Longest route used by dispatch and by combine.
    """

    dispatch: NDArray[np.float64]
    combine: NDArray[np.float64]
    copies: float
    latency_s: tuple[float, float]


def stay_crossings(problem: Problem, use: StayUse) -> StayCrossings:
    """Turn copies into crossings of each link over the routes of the problem's plan."""
    plan = problem.plan
    links = plan.topology.num_links
    sent = use.dispatch[plan.source, plan.set_index]  # (messages,)
    returned = use.combine[plan.source, plan.set_index]
    out = np.bincount(plan.dispatch_link, weights=sent[plan.message], minlength=links)
    back = np.bincount(plan.combine_link, weights=returned[plan.combine_message], minlength=links)
    latency = tuple(float(plan.latency_s[x > 0].max(initial=0.0)) for x in (sent, returned))
    return StayCrossings(
        out.astype(float), back.astype(float), float(sent.sum()), (latency[0], latency[1])
    )
