"""Requests to the dies that hold an expert, and reads to HBMs that are less busy."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numba import njit

if TYPE_CHECKING:
    from numpy.typing import NDArray


@njit(cache=True, nogil=True)
def assign_requests(
    counts: NDArray[np.int64],
    allowed: NDArray[np.bool_],
    compute_s: NDArray[np.float64],
    hbm_s: float,
    rounds: int,
    given: NDArray[np.int64],
) -> None:
    """Give every expert's requests to dies so that the longest die time is short.

    A die's time is the larger of its products and its reads, one read per expert it serves. First
    each expert goes whole, largest first, to the die with the least time; then the longest die
    gives away requests, all of an expert's or as many as make both dies equal, as long as the
    larger time of the two falls.

    Parameters
    ----------
    counts
        (experts,) requests.
    allowed
        (experts, dies) who may serve whom.
    compute_s
        (tokens + 1,) seconds of a whole expert.
    hbm_s
        Seconds of reading an expert.
    rounds
        Largest number of moves.
    given
        (experts, dies) out: requests, zeros before.
    """
    num_experts, num_dies = allowed.shape
    compute = np.zeros(num_dies)
    hbm = np.zeros(num_dies)
    for e in np.argsort(-counts, kind="mergesort"):
        if counts[e] == 0:
            continue
        best = -1
        least = 0.0
        for d in range(num_dies):
            if allowed[e, d]:
                time = max(compute[d] + compute_s[counts[e]], hbm[d] + hbm_s)
                time += 1e-3 * (compute[d] + hbm[d])
                if best < 0 or time < least:
                    best, least = d, time
        given[e, best] = counts[e]
        compute[best] += compute_s[counts[e]]
        hbm[best] += hbm_s
    for _ in range(rounds):
        worst = 0
        for d in range(num_dies):
            if max(compute[d], hbm[d]) > max(compute[worst], hbm[worst]):
                worst = d
        now = max(compute[worst], hbm[worst])
        best_e, best_d, best_part, least = -1, -1, 0, now * (1 - 1e-9)
        for e in range(num_experts):
            has = given[e, worst]
            if has == 0:
                continue
            for d in range(num_dies):
                if d == worst or not allowed[e, d]:
                    continue
                there = given[e, d]
                read = 0.0 if there > 0 else hbm_s
                if hbm[d] + read >= least:
                    continue
                gap = compute[worst] - compute[d]
                part = has
                if compute_s[has] > gap / 2:
                    part = int(has * gap / 2 / compute_s[has]) if gap > 0 else 0
                for choice in range(2):
                    move = part if choice == 0 else has
                    if move <= 0:
                        continue
                    left = has - move
                    from_c = compute[worst] - compute_s[has] + compute_s[left]
                    from_h = hbm[worst] - (hbm_s if left == 0 else 0.0)
                    to_c = compute[d] - compute_s[there] + compute_s[there + move]
                    time = max(max(from_c, from_h), max(to_c, hbm[d] + read))
                    if time < least:
                        best_e, best_d, best_part, least = e, d, move, time
        if best_e < 0:
            break
        has, there = given[best_e, worst], given[best_e, best_d]
        left = has - best_part
        compute[worst] += compute_s[left] - compute_s[has]
        compute[best_d] += compute_s[there + best_part] - compute_s[there]
        if left == 0:
            hbm[worst] -= hbm_s
        if there == 0:
            hbm[best_d] += hbm_s
        given[best_e, worst] = left
        given[best_e, best_d] = there + best_part


@njit(cache=True, nogil=True)
def spread_reads(
    expert: NDArray[np.int64],
    present: NDArray[np.bool_],
    hops: NDArray[np.int64],
    die: NDArray[np.int64],
    limit_hops: int,
    target: NDArray[np.int64],
    source: NDArray[np.int64],
) -> None:
    """Take reads from the busiest HBM to others that hold the same expert, slice by slice.

    Along shortest chains of dies (breadth first) until no chain leads from a busiest HBM to one
    that has at least two reads less: the largest number of reads is then least (as in matching).

    Parameters
    ----------
    expert, die
        (tasks,) what is computed where.
    present
        (experts, dies) who holds what.
    hops
        (dies, dies) links.
    limit_hops
        Farthest that a slice may be fetched.
    target
        (dies,) reads that an HBM may have anyway, because its die computes for longer.
    source
        (tasks, slices) in and out: who each slice is read from.
    """
    num_tasks, slices = source.shape
    num_dies = hops.shape[0]
    reads = np.zeros(num_dies, np.int64)
    for t in range(num_tasks):
        for s in range(slices):
            reads[source[t, s]] += 1
    by_task = np.full((num_dies, num_dies), -1, np.int64)
    parent = np.full(num_dies, -1, np.int64)
    line = np.empty(num_dies, np.int64)
    for _ in range(num_tasks * slices):
        start = -1
        for d in range(num_dies):
            if reads[d] > target[d] and (start < 0 or reads[d] > reads[start]):
                start = d
        if start < 0:
            return
        by_task[:] = -1
        for t in range(num_tasks):
            for s in range(slices):
                d = source[t, s]
                for f in range(num_dies):
                    if f == d or not present[expert[t], f] or hops[die[t], f] > limit_hops:
                        continue
                    old = by_task[d, f]
                    if old < 0 or (hops[die[t], f] < hops[die[old // slices], f]):
                        by_task[d, f] = t * slices + s
        parent[:] = -1
        parent[start] = start
        line[0] = start
        size, at, goal = 1, 0, -1
        while at < size and goal < 0:
            d = line[at]
            at += 1
            for f in range(num_dies):
                if parent[f] < 0 and by_task[d, f] >= 0:
                    parent[f] = d
                    line[size] = f
                    size += 1
                    if reads[f] <= reads[start] - 2:
                        goal = f
                        break
        if goal < 0:
            return
        reads[goal] += 1
        reads[start] -= 1
        while goal != start:
            d = parent[goal]
            item = by_task[d, goal]
            source[item // slices, item % slices] = goal
            goal = d


@njit(cache=True, nogil=True)
def interleave(
    die: NDArray[np.int64],
    product_s: NDArray[np.float64],
    read_s: float,
    num_dies: int,
    order: NDArray[np.int64],
) -> None:
    """Order each die's tasks so that neither its HBM nor its matrix units run dry.

    While products are behind reads the longest task comes next, else the shortest.

    Parameters
    ----------
    die
        (tasks,) who computes.
    product_s
        (tasks,) seconds of its products.
    read_s
        Seconds of a read.
    num_dies
        Dies.
    order
        (tasks,) out: the new order.
    """
    ranked = np.argsort(-product_s, kind="mergesort")
    at = 0
    for d in range(num_dies):
        mine = ranked[die[ranked] == d]
        low, high = 0, mine.size - 1
        reads = products = 0.0
        while low <= high:
            if products <= reads:
                task = mine[low]
                low += 1
            else:
                task = mine[high]
                high -= 1
            reads += read_s
            products = max(products, reads) + product_s[task]
            order[at] = task
            at += 1
