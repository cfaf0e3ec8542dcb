"""Which replica serves a token: dispatch policies as weights per (source rank, slot)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from moeplace.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

DISPATCH_POLICIES = ("even", "nearest", "rank_modulo", "lp", "cover")
NEGLIGIBLE = 1e-12  # a weight below this is rounding of the LP


def replica_weight(
    expert_of_slot: NDArray[np.int32],
    rank_of_slot: NDArray[np.int32],
    node_of_rank: NDArray[np.int64],
    load: NDArray[np.float64],
    policy: str,
) -> NDArray[np.float64]:
    """Return how the slots of an expert share its tokens, for policies that look at no token.

    A token that needs expert e and starts on rank s is served by each slot of e with a chance in
    proportion to the slot's weight for s, independently of its other experts.

    Parameters
    ----------
    expert_of_slot, rank_of_slot
        (slots,) one layer of a placement.
    node_of_rank
        (ranks,) node of each rank.
    load
        (experts,) loads in any unit.
    policy
        ``even``: all replicas alike (EPLB, vLLM). ``nearest``: those on the token's own rank,
        else those on its node, else all (SGLang). ``rank_modulo``: replica number s mod r_e in
        slot order (vllm-ascend). ``lp``: the split with the smallest largest rank load (LPLB),
        see :func:`least_load_split`.

    Returns
    -------
    (1, slots) if the weights do not depend on the source, else (ranks, slots); ≥ 0.

    Raises
    ------
    InputError
        If the policy is unknown.
    """
    occupied = expert_of_slot >= 0
    num_experts = load.size
    single = np.bincount(expert_of_slot[occupied], minlength=1).max(initial=0) <= 1
    if policy == "even" or (single and policy in DISPATCH_POLICIES):  # nothing to choose
        return occupied.astype(float).reshape(1, -1)
    if policy == "lp":
        split = least_load_split(expert_of_slot, rank_of_slot, load, node_of_rank.size)
        return split.reshape(1, -1)
    expert = np.where(occupied, expert_of_slot, 0)
    ranks = node_of_rank.size
    if policy == "nearest":
        own = (rank_of_slot[None, :] == np.arange(ranks)[:, None]) & occupied
        near = (node_of_rank[rank_of_slot][None, :] == node_of_rank[:, None]) & occupied
        has_own = _per_expert(own, expert, num_experts)[:, expert] > 0
        has_near = _per_expert(near, expert, num_experts)[:, expert] > 0
        choice = np.where(has_own, own, np.where(has_near, near, occupied[None, :]))
        return choice.astype(float)
    if policy == "rank_modulo":
        order = np.zeros(expert.size, np.int64)
        count = np.bincount(expert[occupied], minlength=num_experts)
        seen = np.zeros(num_experts, np.int64)
        for slot in np.flatnonzero(occupied):
            order[slot] = seen[expert[slot]]
            seen[expert[slot]] += 1
        wanted = np.arange(ranks)[:, None] % np.maximum(count[expert], 1)[None, :]
        chosen: NDArray[np.bool_] = (wanted == order[None, :]) & occupied
        return chosen.astype(float)
    raise InputError(f"unknown dispatch {policy!r}: use one of {', '.join(DISPATCH_POLICIES)}")


def _per_expert(
    marked: NDArray[np.bool_], expert: NDArray[np.int32], num_experts: int
) -> NDArray[np.int64]:
    """Return (sources, experts) how many marked slots each expert has."""
    counts = np.zeros((marked.shape[0], num_experts), np.int64)
    source, slot = np.nonzero(marked)
    np.add.at(counts, (source, expert[slot]), 1)
    return counts


def least_load_split(
    expert_of_slot: NDArray[np.int32],
    rank_of_slot: NDArray[np.int32],
    load: NDArray[np.float64],
    num_ranks: int,
) -> NDArray[np.float64]:
    """Return (slots,) shares of each expert's load that minimize the largest rank load.

    The linear program of DeepSeek's LPLB: minimize M subject to Σ of shares on a rank ≤ M, the
    shares of an expert adding up to its load. Where several splits are optimal, HiGHS's is taken.

    Parameters
    ----------
    expert_of_slot, rank_of_slot
        (slots,) one layer of a placement.
    load
        (experts,) loads in any unit.
    num_ranks
        R.
    """
    from scipy.optimize import linprog
    from scipy.sparse import csr_array

    split = np.zeros(expert_of_slot.size)
    slot = np.flatnonzero(expert_of_slot >= 0)
    expert, rank = expert_of_slot[slot], rank_of_slot[slot]
    count = np.bincount(expert, minlength=load.size)
    split[slot] = 1.0 / count[expert]
    several = count[expert] > 1
    total = float(load.sum())
    if not several.any() or total <= 0:
        return split
    scaled = load / total * num_ranks  # the mean rank load is 1
    fixed = np.bincount(rank[~several], weights=scaled[expert[~several]], minlength=num_ranks)
    free_expert, free_rank = expert[several], rank[several]
    names, index = np.unique(free_expert, return_inverse=True)
    size = free_expert.size
    column = np.arange(size)
    peak = csr_array(
        (
            np.concatenate([scaled[free_expert], np.full(num_ranks, -1.0)]),
            (
                np.concatenate([free_rank, np.arange(num_ranks)]),
                np.concatenate([column, np.full(num_ranks, size)]),
            ),
        ),
        shape=(num_ranks, size + 1),
    )
    whole = csr_array((np.ones(size), (index, column)), shape=(names.size, size + 1))
    solved = linprog(
        np.append(np.zeros(size), 1.0),
        A_ub=peak,
        b_ub=-fixed,
        A_eq=whole,
        b_eq=np.ones(names.size),
        bounds=(0, None),
        method="highs",
    )
    if solved.status == 0:
        share = np.where(solved.x[:size] > NEGLIGIBLE, solved.x[:size], 0.0)
        split[slot[several]] = share / np.bincount(index, weights=share)[index]
    return split


def weight_per_rank(
    weight: NDArray[np.float64],
    expert_of_slot: NDArray[np.int32],
    rank_of_slot: NDArray[np.int32],
    num_experts: int,
    num_ranks: int,
) -> NDArray[np.float64]:
    """Return (sources, experts, ranks) the weight of an expert's slots on each rank."""
    summed = np.zeros((weight.shape[0], num_experts, num_ranks))
    source, slot = np.nonzero(weight)
    np.add.at(summed, (source, expert_of_slot[slot], rank_of_slot[slot]), weight[source, slot])
    return summed
