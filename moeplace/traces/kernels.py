# mypy: disallow-untyped-decorators=False
"""Compiled loops of the token-set synthesizer; import only from inside functions."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numba import njit

if TYPE_CHECKING:
    from numpy.typing import NDArray


@njit(cache=True, nogil=True, error_model="numpy")
def route(
    uniform: NDArray[np.float32],
    odds: NDArray[np.float32],
    bonus: NDArray[np.float32],
    forced: NDArray[np.int64],
    top_k: int,
    n_group: int,
    topk_group: int,
    ids: NDArray[np.uint16],
) -> None:
    """Route tokens as a group-limited router does, each with fresh noise on its logits.

    The affinity of an expert is sigmoid(θ + logistic noise) = o·u / (o·u + 1 − u) with o = exp θ;
    a bonus is added for the choice, as DeepSeek-V3 adds its bias. A group scores the sum of its two
    best, the best groups stay, and the best experts in them are taken.

    Parameters
    ----------
    uniform
        (tokens, experts) draws from [0, 1).
    odds
        (experts,) exp θ; 0 for an expert that must not be chosen.
    bonus
        (experts,) what is added to the affinity.
    forced
        (tokens,) e to put expert e into the set, −1 − e to keep it out, `experts` for neither.
    top_k, n_group, topk_group
        Shape of the router; the open groups always hold `top_k` live experts if any choice does.
    ids
        (tokens, top_k) output, ascending in a row.
    """
    experts = odds.size
    size = experts // n_group
    score = np.empty(experts, np.float32)
    live = np.zeros(n_group, np.int64)
    group_score = np.empty(n_group, np.float32)
    is_open = np.empty(n_group, np.bool_)
    best = np.empty(top_k, np.float32)
    for token in range(uniform.shape[0]):
        for e in range(experts):
            u = uniform[token, e]
            hit = odds[e] * u
            score[e] = hit / (hit + (np.float32(1.0) - u)) + bonus[e]
        mark = forced[token]
        if mark < 0:
            score[-1 - mark] = -1.0
        elif mark < experts:
            score[mark] = 1e9
        for g in range(n_group):
            first, second, alive = np.float32(-1.0), np.float32(-1.0), 0
            for e in range(g * size, (g + 1) * size):
                if odds[e] == 0:
                    score[e] = -1.0
                s = score[e]
                if s >= 0:
                    alive += 1
                if s > first:
                    second, first = first, s
                elif s > second:
                    second = s
            live[g] = alive
            group_score[g] = first + second
        _open_groups(group_score, live, topk_group, top_k, is_open)
        found = 0
        for g in range(n_group):
            if not is_open[g]:
                continue
            for e in range(g * size, (g + 1) * size):
                s = score[e]
                if s < 0 or (found == top_k and s <= best[top_k - 1]):
                    continue
                place = found if found < top_k else top_k - 1
                while place > 0 and best[place - 1] < s:
                    best[place] = best[place - 1]
                    ids[token, place] = ids[token, place - 1]
                    place -= 1
                best[place] = s
                ids[token, place] = e
                if found < top_k:
                    found += 1
        for place in range(1, top_k):
            e = ids[token, place]
            before = place - 1
            while before >= 0 and ids[token, before] > e:
                ids[token, before + 1] = ids[token, before]
                before -= 1
            ids[token, before + 1] = e


@njit(cache=True, nogil=True, error_model="numpy")
def _open_groups(
    group_score: NDArray[np.float32],
    live: NDArray[np.int64],
    topk_group: int,
    top_k: int,
    is_open: NDArray[np.bool_],
) -> None:
    """Open the best groups, passing over one that would leave fewer than top_k live experts."""
    n_group = group_score.size
    is_open[:] = False
    have = 0
    for rest in range(topk_group - 1, -1, -1):
        chosen = -1
        for g in range(n_group):
            if is_open[g] or (chosen >= 0 and group_score[g] <= group_score[chosen]):
                continue
            if have + live[g] + _most_live(live, is_open, g, rest) >= top_k:
                chosen = g
        if chosen < 0:
            return
        is_open[chosen] = True
        have += live[chosen]


@njit(cache=True, nogil=True, error_model="numpy")
def _most_live(live: NDArray[np.int64], is_open: NDArray[np.bool_], skip: int, count: int) -> int:
    """Return the live experts of the `count` fullest closed groups other than `skip`."""
    total = 0
    taken = np.zeros(live.size, np.bool_)
    for _ in range(count):
        best = -1
        for g in range(live.size):
            if g != skip and not is_open[g] and not taken[g] and (best < 0 or live[g] > live[best]):
                best = g
        if best >= 0:
            taken[best] = True
            total += live[best]
    return total


@njit(cache=True, nogil=True, error_model="numpy")
def rake(
    ids: NDArray[np.int32],
    weight: NDArray[np.float64],
    load: NDArray[np.float64],
    tolerance: float,
    max_sweeps: int,
) -> float:
    """Scale the weights in place until the weighted loads are as given.

    Iterative proportional fitting, one expert at a time: the result is the set of weights nearest
    to the given ones (Kullback–Leibler) with these loads, and every weight stays positive.

    Parameters
    ----------
    ids
        (sets, top_k) experts of the sets, no pads.
    weight
        (sets,) changed in place.
    load
        (experts,) wanted loads; every expert with load > 0 is in some set.
    tolerance
        Largest relative error of a load to stop at.
    max_sweeps
        Sweeps over all the experts to stop after.

    Returns
    -------
    float
        The largest relative error left; infinite if weights vanished.
    """
    sets, top_k = ids.shape
    experts = load.size
    start = np.zeros(experts + 1, np.int64)
    for s in range(sets):
        for j in range(top_k):
            start[ids[s, j] + 1] += 1
    for e in range(experts):
        start[e + 1] += start[e]
    fill = start[:-1].copy()
    member = np.empty(sets * top_k, np.int32)
    for s in range(sets):
        for j in range(top_k):
            e = ids[s, j]
            member[fill[e]] = s
            fill[e] += 1
    error = np.inf
    for _ in range(max_sweeps):
        error = 0.0
        for e in range(experts):
            if start[e] == start[e + 1]:
                continue
            total = 0.0
            for i in range(start[e], start[e + 1]):
                total += weight[member[i]]
            if total <= 0.0:
                return np.inf
            factor = load[e] / total
            error = max(error, abs(total / load[e] - 1.0))
            for i in range(start[e], start[e + 1]):
                weight[member[i]] *= factor
        if error <= tolerance:
            break
    return error
