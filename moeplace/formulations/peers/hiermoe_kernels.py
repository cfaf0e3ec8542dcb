# mypy: disallow-untyped-decorators=False
"""Compiled counts behind HierMoE's expert swap.

A level groups the ranks: each alone, or by nodes. Counted for a level are the weights of the sets
that touch group g (``tokens[g]``); that have e alone in its group (``only[e]``); that have e and
touch g (``meet[e, g]``); that have e and f, with e alone in its group (``pair[e, f]``). All sets
with e weigh ``used[e]``. Exchanging e of group a and f of group b then adds used[f] − meet[f, a] +
pair[e, f] − only[e] to tokens[a].
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numba import njit

if TYPE_CHECKING:
    from numpy.typing import NDArray

GAMMA = 10  # smoothness of the maximum, the paper's default; an integer compiles to products
LEAST_GAIN = 1e-4  # of the modelled time; the exchanges after that bring 0.3 % in all


@njit(cache=True, nogil=True)
def count_set(
    members: NDArray[np.int32],
    weight: float,
    group: NDArray[np.int64],
    tokens: NDArray[np.float64],
    only: NDArray[np.float64],
    meet: NDArray[np.float64],
    pair: NDArray[np.float64],
    inside: NDArray[np.int64],
) -> None:
    """Add one set's weight to the counts of a level; `inside` (groups,) is scratch, zeros."""
    for expert in members:
        if expert >= 0:
            inside[group[expert]] += 1
    for first in members:
        if first < 0:
            continue
        number = group[first]
        if inside[number] > 0:  # the group is met for the first time
            tokens[number] += weight
            for expert in members:
                if expert >= 0:
                    meet[expert, number] += weight
                    if inside[number] == 1 and expert != first:
                        pair[first, expert] += weight
            if inside[number] == 1:
                only[first] += weight
            inside[number] = -inside[number]
    for expert in members:
        if expert >= 0:
            inside[group[expert]] = 0


@njit(cache=True, nogil=True)
def best_swap(
    group: NDArray[np.int64],
    tokens: NDArray[np.float64],
    only: NDArray[np.float64],
    meet: NDArray[np.float64],
    pair: NDArray[np.float64],
    used: NDArray[np.float64],
    factor: NDArray[np.float64],
) -> tuple[int, int, float]:
    """Return the two experts whose exchange makes Σ factor · smooth-max(tokens) least, and it.

    smooth-max(x) = (Σ x^γ)^(1/γ). Complexity: O(experts² · levels).

    Parameters
    ----------
    group
        (levels, experts) group of each expert.
    tokens, only, meet, pair, used
        The counts above, levels first.
    factor
        (levels,) seconds per token of the level's maximum; 0 skips a level.
    """
    levels, experts = group.shape
    power = tokens**GAMMA
    total = power.sum(axis=1)
    now = factor * total ** (1.0 / GAMMA)
    # What an expert's leaving could save at most, twice: the two of a pair save no more than the
    # sum of theirs, because the saving is convex in the power that goes.
    most = np.zeros(experts)
    for expert in range(experts):
        for level in range(levels):
            held = group[level, expert]
            left = max(tokens[level, held] - only[level, expert], 0.0) ** GAMMA
            rest = max(total[level] - 2.0 * (power[level, held] - left), 0.0)
            most[expert] += now[level] - factor[level] * rest ** (1.0 / GAMMA)
    order = np.argsort(-most)
    changed = np.empty(levels)
    start = now.sum()
    best, first, second = start, -1, -1
    for i in range(experts):
        for j in range(i):
            if most[order[i]] + most[order[j]] <= start - best:
                break
            one, two = order[i], order[j]
            helps = False
            for level in range(levels):
                a, b = group[level, one], group[level, two]
                changed[level] = total[level]
                if a == b or factor[level] == 0.0:
                    continue
                after_a = tokens[level, a] + used[two] - meet[level, two, a]
                after_a += pair[level, one, two] - only[level, one]
                after_b = tokens[level, b] + used[one] - meet[level, one, b]
                after_b += pair[level, two, one] - only[level, two]
                changed[level] += after_a**GAMMA - power[level, a]
                changed[level] += after_b**GAMMA - power[level, b]
                helps = helps or changed[level] < total[level]
            if not helps:
                continue
            cost = 0.0
            for level in range(levels):
                cost += factor[level] * max(changed[level], 0.0) ** (1.0 / GAMMA)
            if cost < best:
                best, first, second = cost, one, two
    return first, second, best


@njit(cache=True, nogil=True)
def swap_experts(
    ids: NDArray[np.int32],
    weight: NDArray[np.float64],
    group: NDArray[np.int64],
    num_groups: NDArray[np.int64],
    factor: NDArray[np.float64],
    max_swaps: int,
) -> int:
    """Exchange experts between groups, in place, while the modelled time falls; return how often.

    Parameters
    ----------
    ids, weight
        (sets, top_k) and (sets,) the token sets of a layer, weights summing to 1.
    group
        (levels, experts) changed.
    num_groups
        (levels,) groups of each level.
    factor
        See `best_swap`.
    max_swaps
        Most exchanges.
    """
    levels, experts = group.shape
    most = num_groups.max()
    tokens = np.zeros((levels, most))
    only = np.zeros((levels, experts))
    meet = np.zeros((levels, experts, most))
    pair = np.zeros((levels, experts, experts))
    inside = np.zeros(most, np.int64)
    used = np.zeros(experts)
    for row in range(weight.size):
        for expert in ids[row]:
            if expert >= 0:
                used[expert] += weight[row]
    for level in range(levels):
        for row in range(weight.size):
            count_set(
                ids[row],
                weight[row],
                group[level],
                tokens[level],
                only[level],
                meet[level],
                pair[level],
                inside,
            )
    previous = np.inf
    for done in range(max_swaps):
        one, two, cost = best_swap(group, tokens, only, meet, pair, used, factor)
        if one < 0 or not cost < previous * (1.0 - LEAST_GAIN):
            return done
        previous = cost
        for sign in (-1.0, 1.0):
            if sign > 0:
                for level in range(levels):
                    held = group[level, one]
                    group[level, one] = group[level, two]
                    group[level, two] = held
            for row in range(weight.size):
                has_one, has_two = False, False
                for expert in ids[row]:
                    has_one = has_one or expert == one
                    has_two = has_two or expert == two
                if has_one == has_two and not has_one:
                    continue
                for level in range(levels):
                    count_set(
                        ids[row],
                        sign * weight[row],
                        group[level],
                        tokens[level],
                        only[level],
                        meet[level],
                        pair[level],
                        inside,
                    )
    return max_swaps
