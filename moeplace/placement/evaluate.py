"""The one definition of what a placement costs (DESIGN §5)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from moeplace.errors import InfeasibleError, InputError
from moeplace.placement.cover import cover_use
from moeplace.placement.dispatch import replica_weight, weight_per_rank
from moeplace.placement.migration import moved_replicas
from moeplace.placement.problem import check_shape
from moeplace.placement.robust import combine_scores
from moeplace.placement.score import Score
from moeplace.placement.stay import serving_chance, stay_crossings, stay_use

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from moeplace.hwmodels import CommPlan
    from moeplace.placement.placement import Placement
    from moeplace.placement.problem import Problem
    from moeplace.traces import TokenSets

CERTAIN = 1e-12  # chances this close to 1 are 1: their rounding comes from adding up shares
TILE_SLACK = 1e-9  # a slot with n tokens up to rounding error above a full tile needs no other


@dataclass(frozen=True, eq=False)
class LayerUse:
    """How one layer is used: who computes what, which sets are touched.

    Attributes
    ----------
    slot_share
        (slots,) q_s, share of all (token, expert) pairs a slot serves.
    touches
        (sources, sets) expected copies per token to each destination set of the plan; one row
        if sources do not matter.
    ranks_per_token
        λ, NaN if token sets are not known.
    """

    slot_share: NDArray[np.float64]
    touches: NDArray[np.float64]
    ranks_per_token: float


def evaluate(problem: Problem, placement: Placement) -> Score:
    """Score a placement: seconds, balance, copies and hops of one step.

    Under execution ``stay`` tokens start where their last main expert is, see
    :mod:`moeplace.placement.stay`.

    Complexity: O(layers · token sets · top_k · sets per expert), times the ranks where the
    dispatch policy depends on the token's own rank.

    Parameters
    ----------
    problem
        What is placed, where, and how it is used.
    placement
        Any placement of the problem's layers in which every loaded expert has a replica;
        duplicates of an expert on a rank are scored as they are.

    Raises
    ------
    InputError
        If the shapes do not fit the problem.
    InfeasibleError
        If an expert of a layer has no replica.
    """
    if problem.scenarios:
        scores = [evaluate(scenario, placement) for scenario in problem.scenarios]
        return combine_scores(scores, problem.risk, problem.tail)
    check_scorable(problem, placement)
    plan = problem.plan
    pairs = float(problem.tokens * problem.top_k)
    layers, ranks = problem.num_layers, problem.num_ranks
    rank_load = np.zeros((layers, ranks))
    rank_compute = np.zeros((layers, ranks))
    ranks_per_token = np.zeros(layers)
    dispatch_crossings = np.zeros((layers, plan.topology.num_links))
    combine_crossings = np.zeros_like(dispatch_crossings)
    latency = np.zeros((2, layers))
    copies = np.zeros(layers)
    before: NDArray[np.float64] | None = None
    for layer in range(layers):
        use = layer_use(problem, placement, layer)
        rank_load[layer] = pairs * np.bincount(
            placement.rank_of_slot, weights=use.slot_share, minlength=ranks
        )
        rank_compute[layer] = problem.compute_constants[0] + np.bincount(
            placement.rank_of_slot,
            weights=slot_compute_s(problem, use.slot_share),
            minlength=ranks,
        )
        ranks_per_token[layer] = use.ranks_per_token
        if problem.execution == "stay":
            here = serving_chance(problem, placement, layer)
            sent = stay_crossings(problem, stay_use(problem, layer, before, here))
            dispatch_crossings[layer], combine_crossings[layer] = sent.dispatch, sent.combine
            copies[layer], latency[:, layer] = sent.copies, sent.latency_s
            before = here
            continue
        per_layer = _crossings(plan, use.touches)
        dispatch_crossings[layer], combine_crossings[layer], copies[layer], latency[:, layer] = (
            per_layer
        )
    return _score(
        problem,
        placement,
        rank_load=rank_load,
        rank_compute=rank_compute,
        ranks_per_token=ranks_per_token,
        crossings=(dispatch_crossings * problem.tokens, combine_crossings * problem.tokens),
        copies=copies * problem.tokens,
        latency=latency,
    )


def check_scorable(problem: Problem, placement: Placement) -> None:
    """Raise unless the placement has the problem's shape and covers every expert."""
    check_shape(problem, placement)
    missing = placement.replica_count == 0
    if missing.any():
        layer, expert = np.argwhere(missing)[0]
        raise InfeasibleError(
            f"placement: expert {expert} has no replica in row {layer} "
            f"({int(missing.sum())} missing in all); every expert needs a slot"
        )


def layer_use(problem: Problem, placement: Placement, layer: int) -> LayerUse:
    """Work out slot shares and touched sets of one layer under the dispatch policy."""
    if problem.dispatch == "cover":
        return _cover(problem, placement, layer)
    plan = problem.plan
    share = problem.load_share[layer]
    slot_share, per_rank, total = _split(problem, placement, layer)
    if plan.dedup == "none":
        served = share[None, :, None] * per_rank / total[:, :, None]
        touches = problem.top_k * served.sum(axis=1)
    else:
        touches = _set_touches(problem, layer, per_rank, total, plan.members)
    return LayerUse(slot_share, touches, _lambda(problem, layer, per_rank, total, touches))


def slot_shares(problem: Problem, placement: Placement, layer: int) -> NDArray[np.float64]:
    """Return (slots,) q_s of one layer under the dispatch policy, without its communication."""
    if problem.dispatch == "cover":
        return _cover(problem, placement, layer).slot_share
    return _split(problem, placement, layer)[0]


def _split(
    problem: Problem, placement: Placement, layer: int
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Return slot shares, (sources, experts, ranks) weights, and (sources, experts) their sums."""
    expert_of_slot = placement.expert_of_slot[layer]
    share = problem.load_share[layer]
    weight = replica_weight(
        expert_of_slot,
        placement.rank_of_slot,
        problem.plan.topology.node_of_rank,
        share,
        problem.dispatch,
    )
    per_rank = weight_per_rank(
        weight, expert_of_slot, placement.rank_of_slot, problem.num_experts, problem.num_ranks
    )
    total = per_rank.sum(axis=2)
    expert = np.where(expert_of_slot >= 0, expert_of_slot, 0)
    split = (weight / total[:, expert]).mean(axis=0)  # sources are uniform over the ranks
    return share[expert] * split, per_rank, total


def _cover(problem: Problem, placement: Placement, layer: int) -> LayerUse:
    """Serve every token by as few ranks as a greedy cover finds; sources do not matter."""
    plan = problem.plan
    use = cover_use(
        _token_sets(problem, layer),
        placement.expert_of_slot[layer],
        placement.rank_of_slot,
        problem.num_experts,
        plan.members,
    )
    pairs = float(use.slot_pairs.sum())
    share = use.slot_pairs / pairs if pairs > 0 else use.slot_pairs
    touches = use.touches
    if plan.dedup == "none":
        served = np.bincount(placement.rank_of_slot, weights=share, minlength=problem.num_ranks)
        touches = np.asarray(problem.top_k * served, np.float64)
    return LayerUse(share, touches[None, :], use.ranks_per_token)


def _token_sets(problem: Problem, layer: int) -> TokenSets:
    if problem.workload.token_sets is None:
        raise InputError(
            f"dedup {problem.dedup!r} with dispatch {problem.dispatch!r} needs token sets and "
            f"workload {problem.workload.name!r} has loads only; make the problem with "
            "make_problem, which generates them"
        )
    return problem.workload.token_sets[layer]


def _set_touches(
    problem: Problem,
    layer: int,
    per_rank: NDArray[np.float64],
    total: NDArray[np.float64],
    members: NDArray[np.bool_],
) -> NDArray[np.float64]:
    """Return (sources, sets) chance that a token touches each set of ranks."""
    from moeplace.placement.kernels import touch_probability

    sets = _token_sets(problem, layer)
    touches = np.empty((per_rank.shape[0], members.shape[0]))
    for source in range(per_rank.shape[0]):
        inside = (per_rank[source] @ members.T.astype(float)) / total[source][:, None]
        inside[inside > 1 - CERTAIN] = 1.0  # (experts, sets)
        expert, set_index = np.nonzero(inside)
        start = np.zeros(problem.num_experts + 1, np.int64)
        np.cumsum(np.bincount(expert, minlength=problem.num_experts), out=start[1:])
        touches[source] = touch_probability(
            sets.ids,
            sets.weight,
            start,
            set_index.astype(np.int64),
            inside[expert, set_index],
            members.shape[0],
        )
    return touches


def _lambda(
    problem: Problem,
    layer: int,
    per_rank: NDArray[np.float64],
    total: NDArray[np.float64],
    touches: NDArray[np.float64],
) -> float:
    """Return the mean number of distinct ranks that serve a token."""
    if problem.workload.token_sets is None:
        return float("nan")
    if problem.dedup not in ("rank", "node"):
        ranks = np.eye(problem.num_ranks, dtype=bool)
        touches = _set_touches(problem, layer, per_rank, total, ranks)
    return float(touches[:, : problem.num_ranks].sum(axis=1).mean())


def slot_compute_s(problem: Problem, slot_share: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return (...,) seconds each slot adds to its rank: max(b · P[activated], β · tile · ⌈n/tile⌉).

    Parameters
    ----------
    problem
        Gives the constants b and β, the tile, and the number of pairs of a step.
    slot_share
        q_s of DESIGN §5, any shape; 0 costs nothing.
    """
    _, b, beta = problem.compute_constants
    tile = problem.system.tile_tokens
    pairs = slot_share * float(problem.tokens * problem.top_k)
    per_token = np.minimum(problem.top_k * slot_share, 1.0)
    with np.errstate(divide="ignore"):
        activated = -np.expm1(problem.tokens * np.log1p(-per_token))
    tiles = np.ceil(pairs / tile * (1 - TILE_SLACK))
    seconds: NDArray[np.float64] = np.maximum(b * activated, beta * tile * tiles)
    return seconds


def _crossings(
    plan: CommPlan, touches: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64], float, float]:
    """Return per token: crossings of each link out and back, copies, longest latency used."""
    if touches.shape[0] == 1:
        dispatch, combine = plan.uniform_use
        used = touches[0] > 0
        latency = float(plan.uniform_latency_s[used].max(initial=0.0))
        return (
            dispatch @ touches[0],
            combine @ touches[0],
            float(plan.uniform_messages @ touches[0]),
            latency,
        )
    sent = touches[plan.source, plan.set_index] / plan.topology.num_ranks  # (messages,)
    links = plan.topology.num_links
    out = np.bincount(plan.dispatch_link, weights=sent[plan.message], minlength=links)
    back = np.bincount(plan.combine_link, weights=sent[plan.combine_message], minlength=links)
    latency = float(plan.latency_s[sent > 0].max(initial=0.0))
    return out.astype(float), back.astype(float), float(sent.sum()), latency


def _score(
    problem: Problem,
    placement: Placement,
    *,
    rank_load: NDArray[np.float64],
    rank_compute: NDArray[np.float64],
    ranks_per_token: NDArray[np.float64],
    crossings: tuple[NDArray[np.float64], NDArray[np.float64]],
    copies: NDArray[np.float64],
    latency: NDArray[np.float64],
) -> Score:
    system, bandwidth = problem.system, problem.plan.topology.bandwidth_Bps
    alpha = system.alpha_us[problem.phase]
    sizes = system.copy_bytes(problem.model.payload_size)
    dispatch, combine = (
        system.in_situ_factor
        * (alpha[name] * 1e-6 + route + (count * size / bandwidth).max(axis=1, initial=0.0))
        for name, count, size, route in zip(
            ("dispatch", "combine"), crossings, sizes, latency, strict=True
        )
    )
    compute = rank_compute.max(axis=1)
    busiest = rank_load.max(axis=1)
    balancedness = np.divide(
        rank_load.mean(axis=1), busiest, out=np.ones_like(busiest), where=busiest > 0
    )
    hops = crossings[0].sum(axis=1)
    time = dispatch + compute + combine
    moved = None if problem.current is None else moved_replicas(placement, problem.current)
    price = 0.0 if moved is None else moved * problem.move_price_s
    by_objective = {"time": time + price, "balance": busiest, "copies": copies, "hops": hops}
    layer_objective = by_objective[problem.objective]
    per_layer = problem.tokens * problem.num_layers
    known = not np.isnan(ranks_per_token).any()
    return Score(
        objective_name=problem.objective,
        objective=float(layer_objective.sum()),
        step_time_s=float(time.sum()),
        dispatch_s=float(dispatch.sum()),
        compute_s=float(compute.sum()),
        combine_s=float(combine.sum()),
        balancedness=float(balancedness.mean()),
        copies_per_token=float(copies.sum() / per_layer),
        hops_per_token=float(hops.sum() / per_layer),
        ranks_per_token=float(ranks_per_token.mean()) if known else None,
        max_link_bytes=float(crossings[0].max(initial=0.0) * sizes[0]),
        memory_GiB_per_rank=memory_bytes(problem, placement) / 2**30,
        moved_replicas=None if moved is None else int(moved.sum()),
        layer_objective=layer_objective,
        layer_time_s=time,
        layer_dispatch_s=dispatch,
        layer_compute_s=compute,
        layer_combine_s=combine,
        layer_balancedness=balancedness,
        layer_copies=copies,
        layer_hops=hops,
        rank_load=rank_load,
        rank_compute_s=rank_compute,
        link_bytes=crossings[0] * sizes[0],
    )


def memory_bytes(problem: Problem, placement: Placement) -> float:
    """Return bytes of weights on the fullest rank, expert and non-expert.

    Layers of the model that the workload does not have are taken to be filled alike.
    """
    per_rank = placement.replicas_on_rank.sum(axis=(0, 1))
    alike = problem.model.num_moe_layers / problem.num_layers
    experts = float(per_rank.max()) * alike * problem.expert_bytes
    return experts + problem.system.non_expert_bytes(problem.model, problem.weight_dtype)
