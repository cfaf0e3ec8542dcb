"""Compiled parts of the descent: the state of a layer and what a move does to it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from numba import njit

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

SMOOTHING = 0.02  # weight of the mean square of rank times: guides over the plateaus of a maximum


@njit(cache=True, nogil=True, error_model="numpy")
def read_table(
    table: NDArray[np.int32],
    count: NDArray[np.int64],
    on_rank: NDArray[np.bool_],
    in_set: NDArray[np.int64],
    set_start: NDArray[np.int64],
    set_of_rank: NDArray[np.int64],
) -> int:
    """Count replicas per expert, rank and destination set; return their number."""
    total = 0
    for r in range(table.shape[0]):
        for s in range(table.shape[1]):
            e = table[r, s]
            if e >= 0:
                count[e] += 1
                on_rank[e, r] = True
                total += 1
                for i in range(set_start[r], set_start[r + 1]):
                    in_set[e, set_of_rank[i]] += 1
    return total


@njit(cache=True, nogil=True, error_model="numpy")
def first_touches(
    ids: NDArray[np.int32],
    weight: NDArray[np.float64],
    in_set: NDArray[np.int64],
    count: NDArray[np.int64],
    pair_share: NDArray[np.float64],
    certain: NDArray[np.int16],
    missed: NDArray[np.float64],
    touch: NDArray[np.float64],
) -> None:
    """Fill the factors of every token set, and the touches of every destination set."""
    for t in range(ids.shape[0]):
        for k in range(ids.shape[1]):
            e = ids[t, k]
            if e < 0:
                continue
            for j in range(touch.size):
                if in_set[e, j] == count[e]:
                    certain[t, j] += 1
                elif in_set[e, j] > 0:
                    missed[t, j] *= 1.0 - in_set[e, j] / count[e]
        for j in range(touch.size):
            touch[j] += weight[t] * (1.0 if certain[t, j] > 0 else 1.0 - missed[t, j])
    if ids.shape[0] == 0:
        for e in range(count.size):
            for j in range(touch.size):
                touch[j] += pair_share[e] * in_set[e, j] / count[e]


@njit(cache=True, nogil=True, error_model="numpy")
def first_links(
    link_seconds: NDArray[np.float64],
    group: NDArray[np.int64],
    linear: NDArray[np.float64],
    touch: NDArray[np.float64],
    links: NDArray[np.float64],
) -> float:
    """Fill the links; return the most that one touch can add to the objective."""
    first = 0.0
    second = 0.0
    for link in range(links.size):
        for j in range(touch.size):
            links[link] += link_seconds[link, j] * touch[j]
            if group[link] == 0:
                first = max(first, link_seconds[link, j])
            else:
                second = max(second, link_seconds[link, j])
    direct = 0.0
    for j in range(linear.size):
        direct = max(direct, abs(linear[j]))
    return first + second + direct


@njit(cache=True, nogil=True, error_model="numpy")
def copy_row(row: NDArray[np.bool_], on_rank: NDArray[np.bool_], expert: int) -> None:
    """Write where an expert's replicas are."""
    for r in range(row.size):
        row[r] = on_rank[expert, r]


@njit(cache=True, nogil=True, error_model="numpy")
def set_row(
    expert: int,
    row: NDArray[np.bool_],
    on_rank: NDArray[np.bool_],
    in_set: NDArray[np.int64],
    set_start: NDArray[np.int64],
    set_of_rank: NDArray[np.int64],
) -> None:
    """Take the new ranks of an expert."""
    for j in range(in_set.shape[1]):
        in_set[expert, j] = 0
    for r in range(row.size):
        on_rank[expert, r] = row[r]
        if row[r]:
            for i in range(set_start[r], set_start[r + 1]):
                in_set[expert, set_of_rank[i]] += 1


@njit(cache=True, nogil=True, error_model="numpy")
def token_change(
    x0: int,
    x1: int,
    changed: NDArray[np.int64],
    m: int,
    old0: NDArray[np.float64],
    new0: NDArray[np.float64],
    old1: NDArray[np.float64],
    new1: NDArray[np.float64],
    ids: NDArray[np.int32],
    weight: NDArray[np.float64],
    token_start: NDArray[np.int64],
    token_of: NDArray[np.int32],
    certain: NDArray[np.int16],
    missed: NDArray[np.float64],
    stamp: NDArray[np.int64],
    clock: int,
    change: NDArray[np.float64],
) -> None:
    """Add up how the touches of the changed sets change, over the tokens of both experts."""
    for which in range(2):
        x = x0 if which == 0 else x1
        if x < 0:
            continue
        other = x1 if which == 0 else x0
        for i in range(token_start[x], token_start[x + 1]):
            t = token_of[i]
            if stamp[t] == clock:
                continue
            stamp[t] = clock
            has0 = which == 0
            has1 = which == 1
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
                    c, q = refactor(c, q, old0[j], new0[j])
                if has1:
                    c, q = refactor(c, q, old1[j], new1[j])
                after = 0.0 if c > 0 else q
                change[j] += weight[t] * (before - after)


@njit(cache=True, nogil=True, error_model="numpy")
def commit_tokens(
    expert: int,
    changed: NDArray[np.int64],
    m: int,
    old: NDArray[np.float64],
    new: NDArray[np.float64],
    token_start: NDArray[np.int64],
    token_of: NDArray[np.int32],
    certain: NDArray[np.int16],
    missed: NDArray[np.float64],
) -> None:
    """Take the new factors of an expert in its token sets."""
    for i in range(token_start[expert], token_start[expert + 1]):
        t = token_of[i]
        for n in range(m):
            j = changed[n]
            c, q = refactor(certain[t, j], missed[t, j], old[j], new[j])
            certain[t, j] = c
            missed[t, j] = q


@njit(cache=True, nogil=True, error_model="numpy")
def shift_cost(
    rank_cost: NDArray[np.float64],
    on_rank: NDArray[np.bool_],
    new_row: NDArray[np.bool_],
    cost: NDArray[np.float64],
    expert: int,
    old_count: int,
) -> int:
    """Move an expert's costs to its new ranks; return how many those are."""
    new_count = 0
    for r in range(rank_cost.size):
        new_count += new_row[r]
    for r in range(rank_cost.size):
        if on_rank[expert, r]:
            rank_cost[r] -= cost[expert, old_count - 1]
        if new_row[r] and new_count > 0:
            rank_cost[r] += cost[expert, new_count - 1]
    return new_count


@njit(cache=True, nogil=True, error_model="numpy")
def count_moved(
    on_rank: NDArray[np.bool_],
    new_row: NDArray[np.bool_],
    current: NDArray[np.bool_],
    expert: int,
) -> int:
    """Return how many more replicas of an expert count as moved."""
    more = 0
    for r in range(new_row.size):
        if not current[expert, r]:
            more += new_row[r]
            more -= on_rank[expert, r]
    return more


@njit(cache=True, nogil=True, error_model="numpy")
def row_fraction(
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


@njit(cache=True, nogil=True, error_model="numpy")
def refactor(certain: int, missed: float, old: float, new: float) -> tuple[int, float]:
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


@njit(cache=True, nogil=True, error_model="numpy")
def smoothed(rank_cost: NDArray[np.float64]) -> float:
    """Return the largest rank time plus a share of the mean square over the mean."""
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


@njit(cache=True, nogil=True, error_model="numpy")
def peaks(links: NDArray[np.float64], group: NDArray[np.int64], smoothing: float) -> float:
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


@njit(cache=True, nogil=True, error_model="numpy")
def layer_value(
    rank_cost: NDArray[np.float64],
    links: NDArray[np.float64],
    group: NDArray[np.int64],
    touch: NDArray[np.float64],
    linear: NDArray[np.float64],
) -> float:
    """Return the objective without smoothing: largest rank, busiest links, direct terms."""
    peak = 0.0
    for r in range(rank_cost.size):
        peak = max(peak, rank_cost[r])
    direct = 0.0
    for j in range(touch.size):
        direct += linear[j] * touch[j]
    return float(peak + peaks(links, group, 0.0) + direct)
