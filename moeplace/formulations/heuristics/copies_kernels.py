"""Compiled annealing on the ranks that tokens touch, replicas included, under a limit on load.

Moves: two slots exchange their experts (one of them may be empty), or a slot without a last
replica takes another expert or none. Every move is priced on the token sets of its experts; the
load is only looked at for moves that pass on copies alone. Complexity of a move: O(token sets of
its experts · top_k), in rare cases times ranks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numba import njit

from moeplace.formulations.heuristics.copies_state_kernels import (
    cost_of,
    cover_cost,
    cover_loads,
    even_cost,
    excess,
    lowest,
)
from moeplace.formulations.qap.random_kernels import draw_below, draw_unit

if TYPE_CHECKING:
    from numpy.typing import NDArray

SWEEPS = 4  # of evening out the loads of a move; those before start it
CERTAINLY_OVER = 0.1  # no move saves more copies than this; unit of the mean cost


@njit(cache=True, nogil=True, error_model="numpy")
def anneal(
    ids: NDArray[np.int32],
    weight: NDArray[np.float64],
    token_start: NDArray[np.int64],
    token_of: NDArray[np.int32],
    load: NDArray[np.float64],
    table: NDArray[np.int32],
    max_replicas: int,
    byte_cost: NDArray[np.float64],
    most_load: float,
    cover: bool,
    hot: float,
    cold: float,
    penalty_from: float,
    penalty_to: float,
    proposals: int,
    random: NDArray[np.uint64],
) -> tuple[NDArray[np.int32], float, float, NDArray[np.float64]]:
    """Anneal one layer; deterministic for given inputs.

    Parameters
    ----------
    ids, weight
        (tokens, top_k), (tokens,) token sets with weights that sum to 1.
    token_start, token_of
        Compressed rows: token sets that contain each expert.
    load
        (experts,) pairs per token.
    table
        (ranks, slots per rank) expert in each slot, −1 empty; where the search goes on, in place.
    byte_cost
        (bytes, 256) cost of touching each pattern of 8 ranks, about 1 a rank.
    most_load
        Limit on the load of a rank, pairs per token; infinite for none.
    cover
        Whether dispatch is ``cover``, else ``even``.
    hot, cold
        First and last temperature, in the unit of the costs.
    penalty_from, penalty_to
        First and last price of a pair above the limit.
    proposals
        Moves tried.
    random
        (1,) state of the random numbers, not 0.

    Returns
    -------
    best table, its excess load over all ranks, its cost per token, (ranks,) its loads
    """
    ranks, width = table.shape
    tokens, top_k = ids.shape
    experts = load.size
    mask = np.zeros(experts, np.int64)
    copies = np.zeros(experts, np.int64)
    total = 0
    for r in range(ranks):
        for s in range(width):
            e = table[r, s]
            if e >= 0:
                mask[e] |= np.int64(1) << r
                copies[e] += 1
                total += 1
    number = np.zeros((tokens, ranks), np.int8)  # experts of a token with their only replica there
    ones = np.zeros(tokens, np.int64)
    several = np.zeros(tokens, np.int16)
    cost = np.zeros(tokens)
    left = np.zeros(top_k, np.int64)
    missed = np.zeros(top_k)
    room = 1 << min(ranks, 13)
    keys = np.zeros(2 * room, np.int64)
    key_at = np.full(2 * room, -1, np.int64)
    choice_start = np.zeros(room + 2, np.int64)
    choice_rank = np.zeros(room * min(ranks, 16) + 64, np.int64)
    share = np.zeros(choice_rank.size)
    amount = np.zeros(room + 1)
    used = np.zeros(1, np.int64)
    base = np.zeros(ranks)
    alone = np.zeros(ranks)  # load of experts with a single replica
    for e in range(experts):
        if copies[e] == 1:
            alone[lowest(mask[e])] += load[e]
            base[lowest(mask[e])] += load[e]
        elif not cover:
            for r in range(ranks):
                if (mask[e] >> r) & 1:
                    base[r] += load[e] / copies[e]
    value = 0.0
    for t in range(tokens):
        for k in range(top_k):
            e = ids[t, k]
            if e < 0:
                continue
            if copies[e] == 1:
                number[t, lowest(mask[e])] += 1
                ones[t] |= mask[e]
            else:
                several[t] += 1
        cost[t] = cost_of(ones[t], byte_cost)
        if several[t] > 0 and cover:
            cost[t] += cover_cost(ids[t], mask, ones[t], ranks, byte_cost, left)
            cover_loads(ids[t], mask, copies, ones[t], ranks, weight[t], base, amount, keys,
                        key_at, choice_start, choice_rank, share, used, left)  # fmt: skip
        elif several[t] > 0:
            cost[t] += even_cost(ids[t], mask, copies, ones[t], byte_cost, left, missed)
        value += weight[t] * cost[t]
    limited = most_load < np.inf
    over = 0.0
    if limited:
        over = excess(base, amount, choice_start, choice_rank, share, used[0], most_load, 200)
    best_table = table.copy()
    best_over, best_value = over, value
    best_base, best_amount, best_used = base.copy(), amount.copy(), used[0]

    stamp = np.zeros(tokens, np.int64)
    listed = np.zeros(tokens, np.int64)
    new_ones = np.zeros(tokens, np.int64)
    new_cost = np.zeros(tokens)
    case_of = np.zeros(tokens, np.int8)  # which of the two experts a token has: 1, 2, 3 both
    at_rank = np.zeros((4, 4), np.int64)  # change of `number`, by case
    by = np.zeros((4, 4), np.int64)
    changes = np.zeros(4, np.int64)
    more_several = np.zeros(4, np.int64)
    new_base = np.zeros(ranks)
    new_alone = np.zeros(ranks)
    new_amount = np.zeros_like(amount)
    for n in range(proposals):
        done = n / proposals
        temperature = hot * (cold / hot) ** done
        penalty = penalty_from * (penalty_to / penalty_from) ** done
        a = draw_below(random, ranks)
        sa = draw_below(random, width)
        e = table[a, sa]
        bit_a = np.int64(1) << a
        x0 = -1
        x1 = -1
        b = -1
        sb = -1
        into = -1
        m0 = np.int64(0)
        m1 = np.int64(0)
        if (e >= 0 and copies[e] == 1) or draw_unit(random) < 0.5:
            b = draw_below(random, ranks)
            if e >= 0 and token_start[e + 1] > token_start[e] and draw_unit(random) < 0.5:
                # a rank that one of the expert's tokens touches
                at = token_start[e] + draw_below(random, token_start[e + 1] - token_start[e])
                f = ids[token_of[at], draw_below(random, top_k)]
                if f >= 0:
                    b = lowest(mask[f])
            if a == b:
                continue
            sb = draw_below(random, width)
            f = table[b, sb]
            bit_b = np.int64(1) << b
            if e < 0 and f < 0:
                continue
            if (e >= 0 and mask[e] & bit_b) or (f >= 0 and mask[f] & bit_a):
                continue
            if e >= 0:
                x0, m0 = e, (mask[e] ^ bit_a) | bit_b
                if f >= 0:
                    x1, m1 = f, (mask[f] ^ bit_b) | bit_a
            else:
                x0, m0 = f, (mask[f] ^ bit_b) | bit_a
        else:
            if draw_unit(random) < 0.5:
                into = ids[draw_below(random, tokens), draw_below(random, top_k)]
            else:
                into = draw_below(random, experts)
            if e >= 0 and draw_unit(random) < 0.02:
                into = -1
            if into == e or (into >= 0 and mask[into] & bit_a):
                continue
            if e < 0 and (into < 0 or total >= max_replicas):
                continue
            if e >= 0:
                x0, m0 = e, mask[e] ^ bit_a
                if into >= 0:
                    x1, m1 = into, mask[into] | bit_a
            else:
                x0, m0 = into, mask[into] | bit_a
        old0 = mask[x0]
        old1 = mask[x1] if x1 >= 0 else np.int64(0)
        c0, c1 = copies[x0], copies[x1] if x1 >= 0 else 0
        d0, d1 = c0, c1
        if b < 0:
            d0 = c0 - 1 if e >= 0 else c0 + 1
            d1 = c1 + 1
        threshold = -temperature * np.log(max(draw_unit(random), 1e-300))

        # loads of experts alone on their rank, and under ``even`` all loads
        if limited:
            for r in range(ranks):
                new_alone[r] = alone[r]
                new_base[r] = base[r]
            for second in range(2 if x1 >= 0 else 1):
                x = x1 if second else x0
                old, new = (old1, m1) if second else (old0, m0)
                before, after = (c1, d1) if second else (c0, d0)
                if before == 1:
                    new_alone[lowest(old)] -= load[x]
                if after == 1:
                    new_alone[lowest(new)] += load[x]
                if not cover:
                    for r in range(ranks):
                        new_base[r] -= load[x] / before * ((old >> r) & 1)
                        new_base[r] += load[x] / after * ((new >> r) & 1)
            least = 0.0
            for r in range(ranks):
                seen = new_alone[r] if cover else new_base[r]
                least += max(seen - most_load, 0.0)
            slack = (
                threshold + CERTAINLY_OVER
                if cover
                else threshold + load[x0] + (load[x1] if x1 >= 0 else 0.0)
            )
            if penalty * (least - over) > slack:
                continue

        # what changes in `number`, for tokens with the first expert, the second, both
        for case in range(1, 4):
            changes[case] = 0
            more_several[case] = 0
            for second in range(2):
                if not (case >> second) & 1 or (second and x1 < 0):
                    continue
                old, new = (old1, m1) if second else (old0, m0)
                before, after = (c1, d1) if second else (c0, d0)
                more_several[case] += (after > 1) - (before > 1)
                for step in range(2):
                    if (before if step == 0 else after) != 1:
                        continue
                    r = lowest(old if step == 0 else new)
                    found = -1
                    for i in range(changes[case]):
                        if at_rank[case, i] == r:
                            found = i
                    if found < 0:
                        found = changes[case]
                        changes[case] += 1
                        at_rank[case, found] = r
                        by[case, found] = 0
                    by[case, found] += 2 * step - 1
        listed_count = 0
        for second in range(2 if x1 >= 0 else 1):
            x = x1 if second else x0
            for i in range(token_start[x], token_start[x + 1]):
                t = token_of[i]
                if stamp[t] != n + 1:
                    stamp[t] = n + 1
                    case_of[t] = 1 + second
                    listed[listed_count] = t
                    listed_count += 1
                else:
                    case_of[t] = 3
        mask[x0], copies[x0] = m0, d0
        if x1 >= 0:
            mask[x1], copies[x1] = m1, d1
        change = 0.0
        for i in range(listed_count):
            t = listed[i]
            case = case_of[t]
            bits = ones[t]
            for j in range(changes[case]):
                r = at_rank[case, j]
                if number[t, r] + by[case, j] > 0:
                    bits |= np.int64(1) << r
                else:
                    bits &= ~(np.int64(1) << r)
            now = cost_of(bits, byte_cost)
            if several[t] + more_several[case] > 0:
                if cover:
                    now += cover_cost(ids[t], mask, bits, ranks, byte_cost, left)
                else:
                    now += even_cost(ids[t], mask, copies, bits, byte_cost, left, missed)
            new_ones[i] = bits
            new_cost[i] = now
            change += weight[t] * (now - cost[t])
        accepted = change - penalty * over <= threshold
        new_over = over
        if accepted and limited:
            if cover:
                for r in range(ranks):
                    new_base[r] = base[r] + new_alone[r] - alone[r]
                new_amount[: used[0]] = amount[: used[0]]
                for i in range(listed_count):
                    t = listed[i]
                    if several[t] + more_several[case_of[t]] > 0:
                        cover_loads(ids[t], mask, copies, new_ones[i], ranks, weight[t], new_base,
                                    new_amount, keys, key_at, choice_start, choice_rank, share,
                                    used, left)  # fmt: skip
                mask[x0], copies[x0] = old0, c0
                if x1 >= 0:
                    mask[x1], copies[x1] = old1, c1
                for i in range(listed_count):
                    t = listed[i]
                    if several[t] > 0:
                        cover_loads(ids[t], mask, copies, ones[t], ranks, -weight[t], new_base,
                                    new_amount, keys, key_at, choice_start, choice_rank, share,
                                    used, left)  # fmt: skip
                mask[x0], copies[x0] = m0, d0
                if x1 >= 0:
                    mask[x1], copies[x1] = m1, d1
            new_over = excess(new_base, new_amount, choice_start, choice_rank, share, used[0],
                              most_load, SWEEPS)  # fmt: skip
            accepted = change + penalty * (new_over - over) <= threshold
        if not accepted:
            mask[x0], copies[x0] = old0, c0
            if x1 >= 0:
                mask[x1], copies[x1] = old1, c1
            for v in range(used[0]):
                if new_amount[v] != 0.0:
                    new_amount[v] = 0.0
            continue
        for i in range(listed_count):
            t = listed[i]
            case = case_of[t]
            for j in range(changes[case]):
                number[t, at_rank[case, j]] += by[case, j]
            several[t] += more_several[case]
            ones[t] = new_ones[i]
            cost[t] = new_cost[i]
        value += change
        if limited:
            over = new_over
            for r in range(ranks):
                alone[r] = new_alone[r]
                base[r] = new_base[r]
            if cover:
                amount[: used[0]] = new_amount[: used[0]]
        if b >= 0:
            table[a, sa], table[b, sb] = table[b, sb], table[a, sa]
        else:
            table[a, sa] = into
            total += (into >= 0) - (e >= 0)
        if over < best_over or (over == best_over and value < best_value):
            best_over, best_value = over, value
            best_table[:] = table
            best_base[:] = base
            best_amount[: used[0]] = amount[: used[0]]
            best_used = used[0]
    load_now = best_base.copy()
    if best_used > 0:
        excess(best_base, best_amount, choice_start, choice_rank, share, best_used, most_load, 500)
        for v in range(best_used):
            for i in range(choice_start[v], choice_start[v + 1]):
                load_now[choice_rank[i]] += best_amount[v] * share[i]
    return best_table, best_over, best_value, load_now
