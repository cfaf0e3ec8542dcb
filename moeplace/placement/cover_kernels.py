"""Compiled inner loops of dispatch ``cover``; :mod:`moeplace.placement.cover` says what they do."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numba import njit

if TYPE_CHECKING:
    from numpy.typing import NDArray

FIRST_SETS = 64


@njit(cache=True, nogil=True)
def serve_tokens(
    ids: NDArray[np.int32],
    weight: NDArray[np.float64],
    start: NDArray[np.int64],
    rank_of: NDArray[np.int64],
    num_ranks: int,
) -> tuple[
    NDArray[np.int32],
    NDArray[np.int32],
    NDArray[np.float64],
    NDArray[np.int64],
    NDArray[np.int64],
    NDArray[np.float64],
]:
    """Find out for every token which experts are served where, and where there is a choice.

    Complexity: O(tokens · (top_k · replicas + ranks touched beyond the first choice · ranks)).

    Parameters
    ----------
    ids, weight
        (tokens, top_k) experts with −1 pads, (tokens,) how often each set occurs.
    start, rank_of
        Compressed rows: ranks that hold each expert, ascending, each once.

    Returns
    -------
    served
        (tokens, top_k) the entry of `rank_of` that serves the expert, −1 for pads, −2 − v if it
        is any of choice v.
    last
        (tokens,) choice of which the token touches one rank besides the certain ones, −1 if none.
    base
        (ranks,) pairs per token that a rank serves for certain, not divided by the weights' sum.
    choice_start, choice_rank
        Compressed rows: ranks of each choice, ascending.
    amount
        (choices,) pairs that are free to go to any rank of the choice.
    """
    tokens, top_k = ids.shape
    served = np.full((tokens, top_k), -1, np.int32)
    last = np.full(tokens, -1, np.int32)
    base = np.zeros(num_ranks)
    choice_start = np.zeros(FIRST_SETS + 1, np.int64)
    choice_rank = np.zeros(8 * FIRST_SETS, np.int64)
    amount = np.zeros(FIRST_SETS)
    table = np.full(4 * FIRST_SETS, -1, np.int64)
    choices = 0
    chosen = np.zeros(num_ranks, np.bool_)
    gain = np.zeros(num_ranks, np.int64)
    found = np.zeros(num_ranks, np.int64)
    is_left = np.zeros(top_k, np.bool_)
    for token in range(tokens):
        chosen[:] = False
        order = 0
        for k in range(top_k):
            e = ids[token, k]
            if e >= 0:
                order += e
                if start[e + 1] - start[e] == 1:
                    chosen[rank_of[start[e]]] = True
        left = 0
        for k in range(top_k):
            e = ids[token, k]
            is_left[k] = False
            if e < 0:
                continue
            count = 0
            entry = -1
            for i in range(start[e], start[e + 1]):
                if chosen[rank_of[i]]:
                    found[count] = rank_of[i]
                    entry = i
                    count += 1
            if count == 0:
                is_left[k] = True
                left += 1
            elif count == 1:
                served[token, k] = entry
                base[rank_of[entry]] += weight[token]
            else:
                if (
                    8 * (choices + 1) > choice_rank.size
                    or choices + 1 >= amount.size
                    or (choice_start[choices] + num_ranks > choice_rank.size)
                ):
                    choice_start, choice_rank, amount, table = _grown(
                        choices, choice_start, choice_rank, amount, num_ranks
                    )
                v = _choice(found, count, choices, choice_start, choice_rank, table)
                choices = max(choices, v + 1)
                amount[v] += weight[token]
                served[token, k] = -2 - v
        while left > 0:
            gain[:] = 0
            for k in range(top_k):
                if is_left[k]:
                    for i in range(start[ids[token, k]], start[ids[token, k] + 1]):
                        gain[rank_of[i]] += 1
            most = gain.max()
            pick = -1
            count = 0
            for r in range(num_ranks):
                if gain[r] == most:
                    found[count] = r
                    count += 1
                    if pick < 0 and r >= order % num_ranks:
                        pick = r
            if pick < 0:
                pick = found[0]
            v = -1
            if most == left and count > 1:
                if (
                    8 * (choices + 1) > choice_rank.size
                    or choices + 1 >= amount.size
                    or (choice_start[choices] + num_ranks > choice_rank.size)
                ):
                    choice_start, choice_rank, amount, table = _grown(
                        choices, choice_start, choice_rank, amount, num_ranks
                    )
                v = _choice(found, count, choices, choice_start, choice_rank, table)
                choices = max(choices, v + 1)
                amount[v] += weight[token] * left
                last[token] = v
            for k in range(top_k):
                if not is_left[k]:
                    continue
                e = ids[token, k]
                for i in range(start[e], start[e + 1]):
                    if rank_of[i] == pick:
                        is_left[k] = False
                        left -= 1
                        if v >= 0:
                            served[token, k] = -2 - v
                        else:
                            served[token, k] = i
                            base[pick] += weight[token]
    return (
        served,
        last,
        base,
        choice_start[: choices + 1],
        choice_rank[: choice_start[choices]],
        amount[:choices],
    )


@njit(cache=True, nogil=True)
def _choice(
    found: NDArray[np.int64],
    count: int,
    choices: int,
    choice_start: NDArray[np.int64],
    choice_rank: NDArray[np.int64],
    table: NDArray[np.int64],
) -> int:
    """Return the number of a set of ranks, the next one if it is new."""
    place = 0
    for i in range(count):
        place = (place * 1000003 + found[i] + 1) & 0x3FFFFFFFFFF
    place %= table.size
    while table[place] >= 0:
        v = table[place]
        same = choice_start[v + 1] - choice_start[v] == count
        for i in range(count):
            same = same and choice_rank[choice_start[v] + i] == found[i]
        if same:
            return v
        place = (place + 1) % table.size
    table[place] = choices
    for i in range(count):
        choice_rank[choice_start[choices] + i] = found[i]
    choice_start[choices + 1] = choice_start[choices] + count
    return choices


@njit(cache=True, nogil=True)
def _grown(
    choices: int,
    choice_start: NDArray[np.int64],
    choice_rank: NDArray[np.int64],
    amount: NDArray[np.float64],
    num_ranks: int,
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64], NDArray[np.int64]]:
    """Return the table of choices with more room."""
    room = 2 * amount.size
    starts = np.zeros(room + 1, np.int64)
    starts[: choices + 1] = choice_start[: choices + 1]
    ranks = np.zeros(2 * choice_rank.size + num_ranks, np.int64)
    ranks[: starts[choices]] = choice_rank[: starts[choices]]
    amounts = np.zeros(room)
    amounts[:choices] = amount[:choices]
    table = np.full(4 * room, -1, np.int64)
    for v in range(choices):
        row = ranks[starts[v] : starts[v + 1]]
        _choice(row, row.size, v, starts.copy(), ranks.copy(), table)
    return starts, ranks, amounts, table


@njit(cache=True, nogil=True)
def even_out(
    base: NDArray[np.float64],
    choice_start: NDArray[np.int64],
    choice_rank: NDArray[np.int64],
    amount: NDArray[np.float64],
    share: NDArray[np.float64],
    sweeps: int,
    tolerance: float,
) -> NDArray[np.float64]:
    """Split the free amounts so that the rank loads are as even as can be: least Σ load².

    Block coordinate descent: in turn, each amount is poured where the load is lowest, the others
    held fixed, until no flow changes by more than `tolerance`. The loads in the limit are unique,
    and no split has a smaller maximum: a rank below the maximum that could take from one at the
    maximum would.

    Parameters
    ----------
    base
        (ranks,) what cannot be split.
    choice_start, choice_rank, amount
        Compressed rows: the ranks of each choice; (choices,) what is split over them.
    share
        (entries of `choice_rank`,) the split to start from, adding up to 1 over each choice;
        changed in place.
    sweeps
        Most times each amount is poured.

    Returns
    -------
    (ranks,) loads
    """
    load = base.copy()
    for v in range(amount.size):
        for i in range(choice_start[v], choice_start[v + 1]):
            load[choice_rank[i]] += amount[v] * share[i]
    for _ in range(sweeps):
        most = 0.0
        for v in range(amount.size):
            if amount[v] <= 0.0:
                continue
            for i in range(choice_start[v], choice_start[v + 1]):
                load[choice_rank[i]] -= amount[v] * share[i]
            level = np.inf
            while True:  # the level at which the amount fills the ranks below it
                total, count = amount[v], 0
                for i in range(choice_start[v], choice_start[v + 1]):
                    if load[choice_rank[i]] < level:
                        total += load[choice_rank[i]]
                        count += 1
                lower = total / count
                if lower >= level:
                    break
                level = lower
            for i in range(choice_start[v], choice_start[v + 1]):
                poured = max(level - load[choice_rank[i]], 0.0)
                most = max(most, abs(poured - amount[v] * share[i]))
                share[i] = poured / amount[v]
                load[choice_rank[i]] += poured
        if most <= tolerance:
            break
    return load


@njit(cache=True, nogil=True)
def add_up(
    ids: NDArray[np.int32],
    weight: NDArray[np.float64],
    served: NDArray[np.int32],
    last: NDArray[np.int32],
    start: NDArray[np.int64],
    rank_of: NDArray[np.int64],
    choice_start: NDArray[np.int64],
    choice_rank: NDArray[np.int64],
    share: NDArray[np.float64],
    member_start: NDArray[np.int64],
    sets_of_rank: NDArray[np.int64],
    num_sets: int,
) -> tuple[NDArray[np.float64], NDArray[np.float64], float]:
    """Return pairs per entry of `rank_of`, touches of each destination set, ranks; per token.

    Parameters
    ----------
    served, last, choice_start, choice_rank
        From :func:`serve_tokens`.
    share
        (entries of `choice_rank`,) from :func:`even_out`.
    member_start, sets_of_rank
        Compressed rows: destination sets of each rank.
    """
    pairs = np.zeros(rank_of.size)
    touches = np.zeros(num_sets)
    distinct = 0.0
    total = 0.0
    seen_rank = np.full(member_start.size - 1, -1, np.int64)
    seen = np.full(num_sets, -1, np.int64)
    for token in range(ids.shape[0]):
        w = weight[token]
        total += w
        for k in range(ids.shape[1]):
            i = served[token, k]
            if i >= 0:
                pairs[i] += w
                r = rank_of[i]
                if seen_rank[r] != token:
                    seen_rank[r] = token
                    distinct += w
                    for m in range(member_start[r], member_start[r + 1]):
                        j = sets_of_rank[m]
                        if seen[j] != token:
                            seen[j] = token
                            touches[j] += w
            elif i <= -2:
                e = ids[token, k]
                at = start[e]
                for c in range(choice_start[-2 - i], choice_start[-1 - i]):
                    while rank_of[at] != choice_rank[c]:
                        at += 1
                    pairs[at] += w * share[c]
        v = last[token]
        if v >= 0:
            distinct += w
            for c in range(choice_start[v], choice_start[v + 1]):
                r = choice_rank[c]
                for m in range(member_start[r], member_start[r + 1]):
                    if seen[sets_of_rank[m]] != token:
                        touches[sets_of_rank[m]] += w * share[c]
    if total > 0.0:
        pairs /= total
        touches /= total
        distinct /= total
    return pairs, touches, distinct
