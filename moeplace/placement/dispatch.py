"""Which replica serves a token: dispatch policies as 0/1 choices per (source rank, slot)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from moeplace.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

DISPATCH_POLICIES = ("even", "nearest", "rank_modulo")


def replica_choice(
    expert_of_slot: NDArray[np.int32],
    rank_of_slot: NDArray[np.int32],
    node_of_rank: NDArray[np.int64],
    num_experts: int,
    policy: str,
) -> NDArray[np.int64]:
    """Return which slots of one layer a token may be served by.

    A token that needs expert e and starts on rank s is served by each slot of e that is marked
    for s with equal chance, independently of its other experts.

    Parameters
    ----------
    expert_of_slot, rank_of_slot
        (slots,) one layer of a placement.
    node_of_rank
        (ranks,) node of each rank.
    num_experts
        Experts E.
    policy
        ``even``: all replicas (EPLB, vLLM). ``nearest``: those on the token's own rank, else
        those on its node, else all (SGLang). ``rank_modulo``: replica number s mod r_e in slot
        order (vllm-ascend).

    Returns
    -------
    (1, slots) if the choice does not depend on the source, else (ranks, slots); 0 or 1.

    Raises
    ------
    InputError
        If the policy is unknown.
    """
    occupied = expert_of_slot >= 0
    if policy == "even":
        everywhere: NDArray[np.int64] = occupied.astype(np.int64)[None, :]
        return everywhere
    expert = np.where(occupied, expert_of_slot, 0)
    ranks = node_of_rank.size
    if policy == "nearest":
        own = (rank_of_slot[None, :] == np.arange(ranks)[:, None]) & occupied
        near = (node_of_rank[rank_of_slot][None, :] == node_of_rank[:, None]) & occupied
        has_own = _per_expert(own, expert, num_experts)[:, expert] > 0
        has_near = _per_expert(near, expert, num_experts)[:, expert] > 0
        choice = np.where(has_own, own, np.where(has_near, near, occupied[None, :]))
        return choice.astype(np.int64)
    if policy == "rank_modulo":
        order = np.zeros(expert.size, np.int64)
        count = np.bincount(expert[occupied], minlength=num_experts)
        seen = np.zeros(num_experts, np.int64)
        for slot in np.flatnonzero(occupied):
            order[slot] = seen[expert[slot]]
            seen[expert[slot]] += 1
        wanted = np.arange(ranks)[:, None] % np.maximum(count[expert], 1)[None, :]
        chosen = (wanted == order[None, :]) & occupied
        turns: NDArray[np.int64] = chosen.astype(np.int64)
        return turns
    raise InputError(f"unknown dispatch {policy!r}: use one of {', '.join(DISPATCH_POLICIES)}")


def _per_expert(
    marked: NDArray[np.bool_], expert: NDArray[np.int32], num_experts: int
) -> NDArray[np.int64]:
    """Return (sources, experts) how many marked slots each expert has."""
    counts = np.zeros((marked.shape[0], num_experts), np.int64)
    source, slot = np.nonzero(marked)
    np.add.at(counts, (source, expert[slot]), 1)
    return counts


def choices_per_rank(
    choice: NDArray[np.int64],
    expert_of_slot: NDArray[np.int32],
    rank_of_slot: NDArray[np.int32],
    num_experts: int,
    num_ranks: int,
) -> NDArray[np.int64]:
    """Return (sources, experts, ranks) how many of an expert's eligible slots a rank holds."""
    counts = np.zeros((choice.shape[0], num_experts, num_ranks), np.int64)
    source, slot = np.nonzero(choice)
    np.add.at(counts, (source, expert_of_slot[slot], rank_of_slot[slot]), 1)
    return counts
