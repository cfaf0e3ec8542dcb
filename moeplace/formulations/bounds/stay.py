"""Lower bounds under ``stay`` execution: how often a token can be where it is needed next.

N[b, e] is the chance that a token's anchor before is b and that it uses e in this layer; X and Y
are the chances that a rank serves an expert before and in the layer, (experts, ranks). Rows add up
to 1, entries are at most 1, and at most s (slots of a rank) entries of a column are not 0, with
replicas and any fixed split too. The experts of a layer served where the token is are
S = ⟨N, X Yᵀ⟩.

**Partners.** A rank that serves b has at most s experts of the layer, so given b they add up to at
most the s largest entries of its row; averaged over the ranks of b this stays so. The same from
e, over columns. S ≤ Σ_b top_s(N[b, :]) and S ≤ Σ_e top_s(N[:, e]).

**Singular values.** ‖X‖₂² ≤ ‖X‖₁ ‖X‖_∞ ≤ s · 1, the same for Y, and X Yᵀ has rank R at most. By von
Neumann's trace inequality S ≤ s · (sum of the R largest singular values of N).

Where copies to a rank are merged the chance of being touched is at most the expected number of
experts served there. So dispatch sends at least λ − min(1, S) copies a token, λ the distinct ranks
it touches (:func:`~moeplace.formulations.bounds.communication.distinct_bound`), and also
(k − S)⁺ / min(k, s); unmerged it sends k − S. A node kernel sends at least one message for every
rank touched besides the token's own, and so does a multicast tree. A token that starts on a uniform
rank (in the first layer) meets k / R experts there, and its rank is touched with the chance λ / R.
Combine goes to a touched rank: at least λ − 1 partial results; unmerged k − 1 − S', S' being the
partners of the anchor on its rank, at most s − 1 for each expert.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from moeplace.formulations.bounds.bound import Bound
from moeplace.formulations.bounds.communication import touch_bounds
from moeplace.formulations.bounds.compute import compute_bounds

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from moeplace.placement import Problem
    from moeplace.traces import AnchoredSets

ROUNDING = 1e-9


def local_bound(
    chance: NDArray[np.float64], num_ranks: int, slots: int, *, others: int = 0
) -> float:
    """Return the most that ⟨chance, X Yᵀ⟩ can be, see the module's theorems.

    Parameters
    ----------
    chance
        (experts, experts) ≥ 0.
    num_ranks, slots
        R and s.
    others
        1 where X = Y and the diagonal is 0: an expert shares its rank with s − 1 others.
    """
    from threadpoolctl import threadpool_limits

    most = slots - others
    top = [float(np.sort(side, axis=1)[:, ::-1][:, :most].sum()) for side in (chance, chance.T)]
    with threadpool_limits(1, "blas"):
        values = np.linalg.svd(chance, compute_uv=False)
    return min(*top, float(slots * values[:num_ranks].sum())) * (1 + ROUNDING)


def stay_copies(problem: Problem) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return (layers,) least copies a token of dispatch and of combine."""
    merged = problem.dedup != "none"
    k, ranks, slots = problem.top_k, problem.num_ranks, problem.slots_per_rank
    known = np.ones(problem.num_layers)
    if merged and problem.workload.token_sets is not None:
        known = touch_bounds(problem).ranks
    dispatch, combine = np.zeros(problem.num_layers), np.zeros(problem.num_layers)
    for layer, rows in enumerate(problem.workload.anchored or ()):
        total = float(rows.weight.sum())
        if total <= 0:
            continue
        pairs = rows.weight * (rows.ids >= 0).sum(axis=1) / total
        mean = float(pairs.sum())
        anywhere = (rows.before < 0) | (layer == 0)
        follow = _joint(rows, np.where(anywhere, -1, rows.before), problem.num_experts) / total
        near = local_bound(follow, ranks, slots) + float(pairs[anywhere].sum()) / ranks
        if merged:
            away = known[layer] * (1 - 1 / ranks) if anywhere.all() else known[layer] - 1.0
            dispatch[layer] = max(away, known[layer] - near, (mean - near) / min(k, slots), 0.0)
            combine[layer] = max(known[layer] - 1.0, 0.0)
            continue
        beside = _joint(rows, rows.anchor, problem.num_experts) / total
        np.fill_diagonal(beside, 0.0)  # the anchor itself is there
        near_anchor = 1.0 + local_bound(beside, ranks, slots, others=1)
        scale = k / mean  # as in evaluate, where sets are padded
        dispatch[layer] = max(mean - near, 0.0) * scale
        combine[layer] = max(mean - near_anchor, 0.0) * scale
    return dispatch * (1 - ROUNDING), combine * (1 - ROUNDING)


def stay_bound(problem: Problem) -> Bound:
    """Return a lower bound for ``time``, ``copies`` or ``hops`` under ``stay`` execution.

    ``hops`` and bytes: every copy crosses at least as many links as the shortest message, and the
    busiest link takes at least the mean, weighted by bandwidth.
    """
    plan, system = problem.plan, problem.system
    dispatch, combine = stay_copies(problem)
    lengths = np.bincount(plan.message, minlength=plan.source.size)
    shortest = float(lengths.min()) if lengths.size else 0.0
    method = "where tokens can stay (partners, singular values) and ranks they touch"
    if problem.objective in ("copies", "hops"):
        value = dispatch * problem.tokens * (shortest if problem.objective == "hops" else 1.0)
        return Bound(float(value.sum()), method, {"stay": float(value.sum())}, value)
    stacked = np.array(list(compute_bounds(problem).values()))
    layer_value = stacked.max(axis=0)
    terms = {"compute_s": float(layer_value.sum())}
    sizes = system.copy_bytes(problem.model.payload_size)
    bandwidth = float(plan.topology.bandwidth_Bps.sum())
    nearest = float(plan.latency_s.min()) if plan.latency_s.size else 0.0
    for name, copies, size in zip(("dispatch", "combine"), (dispatch, combine), sizes, strict=True):
        moved = copies * problem.tokens * shortest * size / bandwidth if bandwidth else 0 * copies
        seconds = system.in_situ_factor * (
            system.alpha_us[problem.phase][name] * 1e-6 + np.where(copies > 0, nearest, 0.0) + moved
        )
        terms[f"{name}_s"] = float(seconds.sum())
        layer_value = layer_value + seconds
    return Bound(float(layer_value.sum()), f"link averages of {method}", terms, layer_value)


def _joint(rows: AnchoredSets, anchor: NDArray[np.int32], num_experts: int) -> NDArray[np.float64]:
    """Return (experts, experts) tokens by an anchor and every expert of the set."""
    counts = np.zeros(num_experts * num_experts)
    for column in rows.ids.T:
        both = (anchor >= 0) & (column >= 0)
        keys = anchor[both].astype(np.int64) * num_experts + column[both]
        counts += np.bincount(keys, rows.weight[both], minlength=counts.size)
    return counts.reshape(num_experts, num_experts)
