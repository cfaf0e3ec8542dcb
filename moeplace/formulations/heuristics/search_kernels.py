"""Compiled descent on one layer's true objective.

The state of a layer is a table of slots. Touch chances are kept per (token set, destination set)
as a product of the fractional factors and a count of the certain ones, so that the effect of a
move costs only the token sets of the experts it moves. Complexity of trying a move: O(token sets
of its experts · (top_k + changed destination sets) + links · changed destination sets).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numba import njit

if TYPE_CHECKING:
    from numpy.typing import NDArray

SMOOTHING = 0.02  # weight of the mean square of rank times: guides over the plateaus of a maximum


@njit(cache=True, nogil=True)
def descend(
    table: NDArray[np.int32],
    num_experts: int,
    max_replicas: int,
    cost: NDArray[np.float64],
    pair_share: NDArray[np.float64],
    ids: NDArray[np.int32],
    weight: NDArray[np.float64],
    token_start: NDArray[np.int64],
    token_of: NDArray[np.int32],
    set_start: NDArray[np.int64],
    set_of_rank: NDArray[np.int64],
    link_seconds: NDArray[np.float64],
    link_group: NDArray[np.int64],
    linear: NDArray[np.float64],
    current: NDArray[np.bool_],
    move_price: float,
    max_moves: int,
    orders: NDArray[np.int64],
    max_tries: int,
) -> tuple[NDArray[np.int32], float, int]:
    """Improve one layer by swaps, moves, replications and retirements until none helps.

    The first move that lowers the smoothed objective is taken. Deterministic for given inputs.

    Parameters
    ----------
    table
        (ranks, slots per rank) expert in each slot, −1 empty; improved in place.
    max_replicas
        Most replicas allowed in the layer.
    cost
        (experts, copies) what one replica adds to its rank if the expert has copies + 1 of them.
    pair_share
        (experts,) expected (token, expert) pairs per token; used for touches where there are no
        token sets (every pair is a copy).
    ids, weight
        (tokens, top_k), (tokens,) token sets with weights that sum to 1; empty without dedup.
    token_start, token_of
        Compressed rows: token sets that contain each expert.
    set_start, set_of_rank
        Compressed rows: destination sets that contain each rank.
    link_seconds
        (links, sets) what one touch per token adds to a link.
    link_group
        (links,) 0 or 1; the objective takes the maximum over each group (dispatch, combine).
    linear
        (sets,) what one touch per token adds to the objective directly.
    current
        (experts, ranks) where replicas are now; others count as moved.
    move_price
        What one moved replica adds to the objective.
    max_moves
        Most moved replicas.
    orders
        (passes, slots) in which order each pass visits the slots.
    max_tries
        Moves whose communication is worked out before the search stops.

    Returns
    -------
    table, value of the objective, moves tried
    """
    ranks, width = table.shape
    num_sets = linear.size
    tokens = ids.shape[0]
    count = np.zeros(num_experts, np.int64)
    on_rank = np.zeros((num_experts, ranks), np.bool_)
    in_set = np.zeros((num_experts, num_sets), np.int64)
    total = 0
    for r in range(ranks):
        for s in range(width):
            e = table[r, s]
            if e >= 0:
                count[e] += 1
                on_rank[e, r] = True
                total += 1
                for i in range(set_start[r], set_start[r + 1]):
                    in_set[e, set_of_rank[i]] += 1
    rank_cost = np.zeros(ranks)
    for e in range(num_experts):
        for r in range(ranks):
            if on_rank[e, r]:
                rank_cost[r] += cost[e, count[e] - 1]
    certain = np.zeros((tokens, num_sets), np.int16)
    missed = np.ones((tokens, num_sets))
    touch = np.zeros(num_sets)
    for t in range(tokens):
        for k in range(ids.shape[1]):
            e = ids[t, k]
            if e < 0:
                continue
            for j in range(num_sets):
                if in_set[e, j] == count[e]:
                    certain[t, j] += 1
                elif in_set[e, j] > 0:
                    missed[t, j] *= 1.0 - in_set[e, j] / count[e]
        for j in range(num_sets):
            touch[j] += weight[t] * (1.0 if certain[t, j] > 0 else 1.0 - missed[t, j])
    if tokens == 0:
        for e in range(num_experts):
            for j in range(num_sets):
                touch[j] += pair_share[e] * in_set[e, j] / count[e]
    links = link_seconds @ touch
    steepest = np.zeros(2)
    for link in range(link_seconds.shape[0]):
        group = link_group[link]
        steepest[group] = max(steepest[group], link_seconds[link].max())
    reach = steepest.sum() + np.abs(linear).max() if num_sets else 0.0
    likely = np.zeros(num_experts)
    for e in range(num_experts):
        likely[e] = pair_share[e]

    moved = 0
    for e in range(num_experts):
        for r in range(ranks):
            moved += on_rank[e, r] and not current[e, r]
    value = _value(rank_cost, links, link_group, touch, linear) + move_price * moved
    changed = np.empty(num_sets, np.int64)
    change = np.zeros(num_sets)
    old0 = np.zeros(num_sets)
    new0 = np.zeros(num_sets)
    old1 = np.zeros(num_sets)
    new1 = np.zeros(num_sets)
    trial_cost = np.empty(ranks)
    trial_links = np.empty_like(links)
    stamp = np.zeros(tokens, np.int64)
    clock = 0
    tries = 0
    new_row0 = np.zeros(ranks, np.bool_)
    new_row1 = np.zeros(ranks, np.bool_)
    for p in range(orders.shape[0]):
        improved = False
        for first in range(orders.shape[1]):
            a = orders[p, first] // width
            sa = orders[p, first] % width
            # partner slots, then (numbers ≥ slots) every expert as a new content of this slot
            for second in range(orders.shape[1] + num_experts + 1):
                e = table[a, sa]
                x0 = -1
                x1 = -1
                b = -1
                sb = -1
                into = -1
                if second < orders.shape[1]:
                    if second <= first:
                        continue
                    b = orders[p, second] // width
                    sb = orders[p, second] % width
                    f = table[b, sb]
                    if a == b or (e < 0 and f < 0):
                        continue
                    if (e >= 0 and on_rank[e, b]) or (f >= 0 and on_rank[f, a]):
                        continue
                    x0 = e if e >= 0 else f
                    x1 = f if e >= 0 else -1
                    if e >= 0:
                        new_row0[:] = on_rank[e]
                        new_row0[a] = False
                        new_row0[b] = True
                        if f >= 0:
                            new_row1[:] = on_rank[f]
                            new_row1[b] = False
                            new_row1[a] = True
                    else:
                        new_row0[:] = on_rank[f]
                        new_row0[b] = False
                        new_row0[a] = True
                else:
                    if e >= 0 and count[e] == 1:
                        break  # the last replica stays
                    into = second - orders.shape[1] - 1  # −1 retires
                    if into == e or (into >= 0 and on_rank[into, a]):
                        continue
                    if e < 0 and (into < 0 or total >= max_replicas):
                        continue
                    if into >= 0 and count[into] >= cost.shape[1]:
                        continue
                    x0 = e if e >= 0 else into
                    x1 = into if e >= 0 else -1
                    new_row0[:] = on_rank[x0]
                    new_row0[a] = e < 0
                    if x1 >= 0:
                        new_row1[:] = on_rank[x1]
                        new_row1[a] = True
                for r in range(ranks):
                    trial_cost[r] = rank_cost[r]
                c0 = new_row0.sum()
                _shift_cost(trial_cost, on_rank[x0], new_row0, cost[x0], count[x0], c0)
                spread = likely[x0]
                c1 = 0
                if x1 >= 0:
                    c1 = new_row1.sum()
                    _shift_cost(trial_cost, on_rank[x1], new_row1, cost[x1], count[x1], c1)
                    spread += likely[x1]
                more_moved = _moved(on_rank[x0], new_row0, current[x0])
                if x1 >= 0:
                    more_moved += _moved(on_rank[x1], new_row1, current[x1])
                if more_moved > 0 and moved + more_moved > max_moves:
                    continue
                compute_gain = _smoothed(rank_cost) - _smoothed(trial_cost)
                compute_gain -= move_price * more_moved
                if compute_gain + spread * reach <= 1e-12 * value:
                    continue  # not even the best change of the links could pay for it
                tries += 1
                clock += 1
                m = 0
                for j in range(num_sets):
                    n0 = 0
                    n1 = 0
                    for_set0 = in_set[x0, j]
                    for_set1 = in_set[x1, j] if x1 >= 0 else 0
                    change[j] = 0.0
                    old0[j] = for_set0 / count[x0]
                    old1[j] = for_set1 / count[x1] if x1 >= 0 else 0.0
                    new0[j] = n0
                    new1[j] = n1
                _row_fraction(new_row0, c0, set_start, set_of_rank, new0)
                if x1 >= 0:
                    _row_fraction(new_row1, c1, set_start, set_of_rank, new1)
                for j in range(num_sets):
                    if old0[j] != new0[j] or old1[j] != new1[j]:
                        changed[m] = j
                        m += 1
                if tokens == 0:
                    for i in range(m):
                        j = changed[i]
                        change[j] = pair_share[x0] * (new0[j] - old0[j])
                        if x1 >= 0:
                            change[j] += pair_share[x1] * (new1[j] - old1[j])
                else:
                    for which in range(2):
                        x = x0 if which == 0 else x1
                        if x < 0:
                            continue
                        for i in range(token_start[x], token_start[x + 1]):
                            t = token_of[i]
                            if stamp[t] == clock:
                                continue
                            stamp[t] = clock
                            has0 = which == 0
                            has1 = which == 1
                            other = x1 if which == 0 else x0
                            if other >= 0:
                                for k in range(ids.shape[1]):
                                    if ids[t, k] == other:
                                        has0 = True
                                        has1 = True
                            for n in range(m):
                                j = changed[n]
                                c = certain[t, j]
                                q = missed[t, j]
                                before = 0.0 if c > 0 else q
                                if has0:
                                    c, q = _refactor(c, q, old0[j], new0[j])
                                if has1:
                                    c, q = _refactor(c, q, old1[j], new1[j])
                                after = 0.0 if c > 0 else q
                                change[j] += weight[t] * (before - after)
                links_old = _peaks(links, link_group, SMOOTHING)
                for link in range(links.size):
                    add = 0.0
                    for n in range(m):
                        add += link_seconds[link, changed[n]] * change[changed[n]]
                    trial_links[link] = links[link] + add
                gain = compute_gain + links_old - _peaks(trial_links, link_group, SMOOTHING)
                for n in range(m):
                    gain -= linear[changed[n]] * change[changed[n]]
                if gain <= 1e-9 * value:
                    if tries >= max_tries:
                        return table, value, tries
                    continue
                # take the move
                improved = True
                for which in range(2):
                    x = x0 if which == 0 else x1
                    if x < 0 or tokens == 0:
                        continue
                    for i in range(token_start[x], token_start[x + 1]):
                        t = token_of[i]
                        for n in range(m):
                            j = changed[n]
                            if which == 0:
                                c, q = _refactor(certain[t, j], missed[t, j], old0[j], new0[j])
                            else:
                                c, q = _refactor(certain[t, j], missed[t, j], old1[j], new1[j])
                            certain[t, j] = c
                            missed[t, j] = q
                for n in range(m):
                    touch[changed[n]] += change[changed[n]]
                links[:] = trial_links
                rank_cost[:] = trial_cost
                moved += more_moved
                total += c0 - count[x0]
                count[x0] = c0
                on_rank[x0] = new_row0
                if x1 >= 0:
                    total += c1 - count[x1]
                    count[x1] = c1
                    on_rank[x1] = new_row1
                for which in range(2):
                    x = x0 if which == 0 else x1
                    if x >= 0:
                        in_set[x] = 0
                        for r in range(ranks):
                            if on_rank[x, r]:
                                for i in range(set_start[r], set_start[r + 1]):
                                    in_set[x, set_of_rank[i]] += 1
                if b >= 0:
                    table[a, sa], table[b, sb] = table[b, sb], table[a, sa]
                else:
                    table[a, sa] = into
                value = _value(rank_cost, links, link_group, touch, linear)
                value += move_price * moved
                if tries >= max_tries:
                    return table, value, tries
        if not improved:
            break
    return table, value, tries


@njit(cache=True, nogil=True)
def _shift_cost(
    rank_cost: NDArray[np.float64],
    old_row: NDArray[np.bool_],
    new_row: NDArray[np.bool_],
    cost: NDArray[np.float64],
    old_count: int,
    new_count: int,
) -> None:
    for r in range(rank_cost.size):
        if old_row[r]:
            rank_cost[r] -= cost[old_count - 1]
        if new_row[r]:
            rank_cost[r] += cost[new_count - 1]


@njit(cache=True, nogil=True)
def _moved(
    old_row: NDArray[np.bool_], new_row: NDArray[np.bool_], current: NDArray[np.bool_]
) -> int:
    """Return how many more replicas of an expert count as moved."""
    more = 0
    for r in range(current.size):
        if not current[r]:
            more += new_row[r]
            more -= old_row[r]
    return more


@njit(cache=True, nogil=True)
def _row_fraction(
    row: NDArray[np.bool_],
    count: int,
    set_start: NDArray[np.int64],
    set_of_rank: NDArray[np.int64],
    out: NDArray[np.float64],
) -> None:
    """Write the share of an expert's replicas inside each set; exact where it is all of them."""
    for r in range(row.size):
        if row[r]:
            for i in range(set_start[r], set_start[r + 1]):
                out[set_of_rank[i]] += 1.0
    for j in range(out.size):
        out[j] /= count


@njit(cache=True, nogil=True)
def _refactor(certain: int, missed: float, old: float, new: float) -> tuple[int, float]:
    """Replace one factor 1 − old by 1 − new in a product kept as (zeros, rest)."""
    if old == 1.0:
        certain -= 1
    elif old > 0.0:
        missed /= 1.0 - old
    if new == 1.0:
        certain += 1
    elif new > 0.0:
        missed *= 1.0 - new
    return certain, missed


@njit(cache=True, nogil=True)
def _smoothed(rank_cost: NDArray[np.float64]) -> float:
    peak = 0.0
    square = 0.0
    mean = 0.0
    for r in range(rank_cost.size):
        peak = max(peak, rank_cost[r])
        square += rank_cost[r] * rank_cost[r]
        mean += rank_cost[r]
    if mean == 0.0:
        return 0.0
    return float(peak + SMOOTHING * square / mean)


@njit(cache=True, nogil=True)
def _peaks(links: NDArray[np.float64], group: NDArray[np.int64], smoothing: float) -> float:
    """Return the sum over both groups of the busiest link, plus smoothed mean squares."""
    value = 0.0
    for wanted in range(2):
        peak = 0.0
        square = 0.0
        total = 0.0
        for link in range(links.size):
            if group[link] == wanted:
                peak = max(peak, links[link])
                square += links[link] * links[link]
                total += links[link]
        value += peak
        if total > 0.0:
            value += smoothing * square / total
    return value


@njit(cache=True, nogil=True)
def _value(
    rank_cost: NDArray[np.float64],
    links: NDArray[np.float64],
    group: NDArray[np.int64],
    touch: NDArray[np.float64],
    linear: NDArray[np.float64],
) -> float:
    peak = rank_cost.max() if rank_cost.size else 0.0
    return float(peak + _peaks(links, group, 0.0) + np.dot(linear, touch))
