"""Compiled inner loops of the evaluation."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numba import njit

if TYPE_CHECKING:
    from numpy.typing import NDArray


@njit(cache=True, nogil=True)
def touch_probability(
    ids: NDArray[np.int32],
    weight: NDArray[np.float64],
    start: NDArray[np.int64],
    set_index: NDArray[np.int64],
    fraction: NDArray[np.float64],
    num_sets: int,
) -> NDArray[np.float64]:
    """Return (sets,) the chance that a token touches each destination set.

    For set D this is the weighted mean over tokens of 1 − Π_{e in token} (1 − f_e(D)), f_e(D)
    being the chance that expert e is served inside D (DESIGN §5, replica choice). Complexity:
    O(tokens · top_k · sets per expert).

    Parameters
    ----------
    ids
        (tokens, top_k) experts, −1 pads.
    weight
        (tokens,) how often each set occurs.
    start, set_index, fraction
        Compressed rows: expert e is served in ``set_index[start[e]:start[e + 1]]`` with chance
        `fraction`.
    num_sets
        Destination sets J.
    """
    missed = np.ones(num_sets)
    touched = np.empty(num_sets, np.int64)
    total = np.zeros(num_sets)
    weight_sum = 0.0
    for token in range(ids.shape[0]):
        count = 0
        for k in range(ids.shape[1]):
            expert = ids[token, k]
            if expert < 0:
                continue
            for entry in range(start[expert], start[expert + 1]):
                j = set_index[entry]
                if missed[j] == 1.0:
                    touched[count] = j
                    count += 1
                missed[j] *= 1.0 - fraction[entry]
        weight_sum += weight[token]
        for i in range(count):
            j = touched[i]
            total[j] += weight[token] * (1.0 - missed[j])
            missed[j] = 1.0
    if weight_sum > 0.0:
        total /= weight_sum
    return total


@njit(cache=True, nogil=True)
def cover_use(
    ids: NDArray[np.int32],
    weight: NDArray[np.float64],
    start: NDArray[np.int64],
    slot_of: NDArray[np.int64],
    rank_of_slot: NDArray[np.int32],
    member_start: NDArray[np.int64],
    sets_of_rank: NDArray[np.int64],
    num_ranks: int,
    num_sets: int,
) -> tuple[NDArray[np.float64], NDArray[np.float64], float]:
    """Serve every token by few ranks; return slot shares, set touches and λ.

    Greedy cover: the ranks of experts with a single replica come first, then, until every expert
    is served, the rank that serves most of the others. Equals go to the first rank at or after
    (sum of the token's experts) mod R, so that they spread. An expert with replicas on several
    of the token's ranks is served on the first of them in the same order. Complexity: O(tokens ·
    top_k · (ranks + replicas)).

    Parameters
    ----------
    ids, weight
        (tokens, top_k) experts with −1 pads, (tokens,) how often each set occurs.
    start, slot_of
        Compressed rows: slots of each expert.
    member_start, sets_of_rank
        Compressed rows: destination sets of each rank.

    Returns
    -------
    (slots,) pairs per token, (sets,) touches per token, distinct ranks per token
    """
    served = np.zeros(rank_of_slot.size)
    touches = np.zeros(num_sets)
    distinct = 0.0
    weight_sum = 0.0
    chosen = np.zeros(num_ranks, np.bool_)
    gain = np.zeros(num_ranks, np.int64)
    open_to = np.zeros(ids.shape[1], np.bool_)
    seen = np.zeros(num_sets, np.bool_)
    for token in range(ids.shape[0]):
        w = weight[token]
        weight_sum += w
        first = 0
        for k in range(ids.shape[1]):
            first += max(ids[token, k], 0)
        first %= num_ranks
        chosen[:] = False
        for k in range(ids.shape[1]):
            e = ids[token, k]
            if e >= 0 and start[e + 1] - start[e] == 1:
                chosen[rank_of_slot[slot_of[start[e]]]] = True
        left = 0
        for k in range(ids.shape[1]):
            e = ids[token, k]
            open_to[k] = e >= 0
            if e >= 0:
                for i in range(start[e], start[e + 1]):
                    if chosen[rank_of_slot[slot_of[i]]]:
                        open_to[k] = False
            left += open_to[k]
        while left > 0:
            gain[:] = 0
            for k in range(ids.shape[1]):
                if open_to[k]:
                    e = ids[token, k]
                    for i in range(start[e], start[e + 1]):
                        r = rank_of_slot[slot_of[i]]
                        repeated = False
                        for before in range(start[e], i):
                            repeated |= rank_of_slot[slot_of[before]] == r
                        if not repeated:
                            gain[r] += 1
            best = first
            for step in range(num_ranks):
                r = (first + step) % num_ranks
                if gain[r] > gain[best]:
                    best = r
            chosen[best] = True
            for k in range(ids.shape[1]):
                if open_to[k]:
                    e = ids[token, k]
                    for i in range(start[e], start[e + 1]):
                        if rank_of_slot[slot_of[i]] == best:
                            open_to[k] = False
                    left -= not open_to[k]
        for k in range(ids.shape[1]):
            e = ids[token, k]
            if e < 0:
                continue
            slot = -1
            nearest = num_ranks
            for i in range(start[e], start[e + 1]):
                r = rank_of_slot[slot_of[i]]
                away = (r - first) % num_ranks
                if chosen[r] and away < nearest:
                    nearest = away
                    slot = slot_of[i]
            served[slot] += w
        seen[:] = False
        for r in range(num_ranks):
            if chosen[r]:
                distinct += w
                for i in range(member_start[r], member_start[r + 1]):
                    j = sets_of_rank[i]
                    if not seen[j]:
                        seen[j] = True
                        touches[j] += w
    if weight_sum > 0.0:
        served /= weight_sum
        touches /= weight_sum
        distinct /= weight_sum
    return served, touches, distinct
