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

from moeplace.formulations.heuristics.search_state_kernels import (
    SMOOTHING,
    commit_tokens,
    copy_row,
    count_moved,
    first_links,
    first_touches,
    layer_value,
    peaks,
    read_table,
    row_fraction,
    set_row,
    shift_cost,
    smoothed,
    token_change,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray


@njit(cache=True, nogil=True, error_model="numpy")
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
    total = read_table(table, count, on_rank, in_set, set_start, set_of_rank)
    rank_cost = np.zeros(ranks)
    for e in range(num_experts):
        for r in range(ranks):
            if on_rank[e, r]:
                rank_cost[r] += cost[e, count[e] - 1]
    certain = np.zeros((tokens, num_sets), np.int16)
    missed = np.ones((tokens, num_sets))
    touch = np.zeros(num_sets)
    first_touches(ids, weight, in_set, count, pair_share, certain, missed, touch)
    links = np.zeros(link_seconds.shape[0])
    reach = first_links(link_seconds, link_group, linear, touch, links)

    moved = 0
    for e in range(num_experts):
        for r in range(ranks):
            moved += on_rank[e, r] and not current[e, r]
    value = layer_value(rank_cost, links, link_group, touch, linear) + move_price * moved
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
                        copy_row(new_row0, on_rank, e)
                        new_row0[a] = False
                        new_row0[b] = True
                        if f >= 0:
                            copy_row(new_row1, on_rank, f)
                            new_row1[b] = False
                            new_row1[a] = True
                    else:
                        copy_row(new_row0, on_rank, f)
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
                    copy_row(new_row0, on_rank, x0)
                    new_row0[a] = e < 0
                    if x1 >= 0:
                        copy_row(new_row1, on_rank, x1)
                        new_row1[a] = True
                for r in range(ranks):
                    trial_cost[r] = rank_cost[r]
                c0 = shift_cost(trial_cost, on_rank, new_row0, cost, x0, count[x0])
                spread = pair_share[x0]
                c1 = 0
                if x1 >= 0:
                    c1 = shift_cost(trial_cost, on_rank, new_row1, cost, x1, count[x1])
                    spread += pair_share[x1]
                more_moved = count_moved(on_rank, new_row0, current, x0)
                if x1 >= 0:
                    more_moved += count_moved(on_rank, new_row1, current, x1)
                if more_moved > 0 and moved + more_moved > max_moves:
                    continue
                compute_gain = smoothed(rank_cost) - smoothed(trial_cost)
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
                row_fraction(new_row0, c0, set_start, set_of_rank, new0)
                if x1 >= 0:
                    row_fraction(new_row1, c1, set_start, set_of_rank, new1)
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
                    token_change(
                        x0, x1, changed, m, old0, new0, old1, new1, ids, weight,
                        token_start, token_of, certain, missed, stamp, clock, change,
                    )  # fmt: skip
                links_old = peaks(links, link_group, SMOOTHING)
                for link in range(links.size):
                    add = 0.0
                    for n in range(m):
                        add += link_seconds[link, changed[n]] * change[changed[n]]
                    trial_links[link] = links[link] + add
                gain = compute_gain + links_old - peaks(trial_links, link_group, SMOOTHING)
                for n in range(m):
                    gain -= linear[changed[n]] * change[changed[n]]
                if gain <= 1e-9 * value:
                    if tries >= max_tries:
                        return table, value, tries
                    continue
                # take the move
                improved = True
                if tokens > 0:
                    commit_tokens(
                        x0, changed, m, old0, new0, token_start, token_of, certain, missed
                    )
                    if x1 >= 0:
                        commit_tokens(
                            x1, changed, m, old1, new1, token_start, token_of, certain, missed
                        )
                for n in range(m):
                    touch[changed[n]] += change[changed[n]]
                for link in range(links.size):
                    links[link] = trial_links[link]
                for r in range(ranks):
                    rank_cost[r] = trial_cost[r]
                moved += more_moved
                total += c0 - count[x0]
                count[x0] = c0
                set_row(x0, new_row0, on_rank, in_set, set_start, set_of_rank)
                if x1 >= 0:
                    total += c1 - count[x1]
                    count[x1] = c1
                    set_row(x1, new_row1, on_rank, in_set, set_start, set_of_rank)
                if b >= 0:
                    table[a, sa], table[b, sb] = table[b, sb], table[a, sa]
                else:
                    table[a, sa] = into
                value = layer_value(rank_cost, links, link_group, touch, linear)
                value += move_price * moved
                if tries >= max_tries:
                    return table, value, tries
        if not improved:
            break
    return table, value, tries
