"""Requests to the dies that hold an expert, and reads to HBMs that are less busy."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numba import njit

if TYPE_CHECKING:
    from numpy.typing import NDArray


@njit(cache=True, nogil=True)
def order_slices(product_s: NDArray[np.float64], read_s: float, slices: int) -> NDArray[np.int64]:
    """Return whose slice comes next on one die, so that neither reads nor products run dry.

    As long as the products so far took less than their share it is the task with the longest
    products, else the one with the shortest: slices of long and short tasks alternate, which the
    few slices in flight need. The share is the mean product, or a read where reads take longer.

    Parameters
    ----------
    product_s
        (tasks,) seconds of a slice's product.
    read_s
        Seconds of reading a slice.
    slices
        Slices of a task.

    Returns
    -------
    order
        (tasks * slices,) tasks.
    """
    ranked = np.argsort(-product_s, kind="mergesort")
    order = np.empty(ranked.size * slices, np.int64)
    low, high = 0, order.size - 1
    share = max(product_s.mean(), read_s) if product_s.size else 0.0
    ahead = 0.0
    for at in range(order.size):
        if ahead <= 0:
            order[at] = ranked[low // slices]
            low += 1
        else:
            order[at] = ranked[high // slices]
            high -= 1
        ahead += product_s[order[at]] - share
    return order


@njit(cache=True, nogil=True)
def die_time_s(
    tokens: NDArray[np.int64],
    compute_s: NDArray[np.float64],
    read_s: float,
    slices: int,
    in_flight: int,
) -> float:
    """Return seconds until a die has read and used its experts, all from its own HBM.

    Slice i is read once slice i − `in_flight` has been used, and used once it is read and slice
    i − 1 has been used: the event loop for a die alone, without its cache.

    Parameters
    ----------
    tokens
        (experts,) requests that the die serves.
    compute_s
        (tokens + 1,) seconds of a slice's product.
    read_s
        Seconds of reading a slice.
    slices, in_flight
        Slices of an expert, and those that may be on their way.
    """
    product_s = compute_s[tokens[np.flatnonzero(tokens)]]
    order = order_slices(product_s, read_s, slices)
    used = np.zeros(order.size + in_flight)  # used[i + in_flight]: slice i is used
    read = 0.0
    for i in range(order.size):
        read = max(read, used[i]) + read_s
        used[i + in_flight] = max(used[i + in_flight - 1], read) + product_s[order[i]]
    return used[order.size + in_flight - 1]


@njit(cache=True, nogil=True)
def shift_chain(
    start: int,
    goal: float,
    allowed: NDArray[np.bool_],
    compute_s: NDArray[np.float64],
    read_s: float,
    slices: int,
    in_flight: int,
    given: NDArray[np.int64],
) -> NDArray[np.bool_]:
    """Move an expert's requests off a die, another's off the die that takes them, and so on.

    Breadth first over dies, each visited once, until every die of the chain is below `goal`.

    Parameters
    ----------
    start
        The die to relieve.
    goal
        Time that every changed die has to stay below.
    allowed, compute_s, read_s, slices, in_flight
        As in `assign_requests`.
    given
        (dies, experts) in and out: requests.

    Returns
    -------
    changed
        (dies,) who was changed; nobody if there is no such chain.
    """
    num_experts, num_dies = allowed.shape
    changed = np.zeros(num_dies, np.bool_)
    parent = np.full(num_dies, -1, np.int64)
    moved = np.full(num_dies, -1, np.int64)  # the expert that comes to a die from its parent
    line = np.empty(num_dies, np.int64)
    parent[start] = start
    line[0] = start
    size, at, last = 1, 0, -1
    while at < size and last < 0:
        d = line[at]
        at += 1
        extra = 0
        if d != start:
            extra = given[parent[d], moved[d]]
            given[d, moved[d]] += extra
        if d != start and die_time_s(given[d], compute_s, read_s, slices, in_flight) < goal:
            last = d
        else:
            for e in range(num_experts):
                has = given[d, e]
                if has == 0 or e == moved[d]:
                    continue
                given[d, e] = 0
                time = die_time_s(given[d], compute_s, read_s, slices, in_flight)
                given[d, e] = has
                if time >= goal:
                    continue
                for f in range(num_dies):
                    if allowed[e, f] and parent[f] < 0:
                        parent[f] = d
                        moved[f] = e
                        line[size] = f
                        size += 1
        if d != start:
            given[d, moved[d]] -= extra
    while last >= 0 and last != start:
        d = parent[last]
        e = moved[last]
        given[last, e] += given[d, e]
        given[d, e] = 0
        changed[last] = True
        changed[d] = True
        last = d
    return changed


@njit(cache=True, nogil=True)
def assign_requests(
    counts: NDArray[np.int64],
    allowed: NDArray[np.bool_],
    compute_s: NDArray[np.float64],
    read_s: float,
    slices: int,
    in_flight: int,
    rounds: int,
    given: NDArray[np.int64],
) -> None:
    """Give every expert's requests to dies so that the longest die time is short.

    First each expert goes whole, largest first, to the die with the least time, then the longest
    die gives away requests of one expert, all or a power of one half of them, so that the larger
    time of the two dies falls most; where that helps no more, along a chain of dies.

    Parameters
    ----------
    counts
        (experts,) requests.
    allowed
        (experts, dies) who may serve whom.
    compute_s, read_s, slices, in_flight
        As in `die_time_s`.
    rounds
        Largest number of moves.
    given
        (dies, experts) out: requests, zeros before.
    """
    num_experts, num_dies = allowed.shape
    time = np.zeros(num_dies)
    for e in np.argsort(-counts, kind="mergesort"):
        if counts[e] == 0:
            continue
        best = -1
        for d in range(num_dies):
            if allowed[e, d] and (best < 0 or time[d] < time[best]):
                best = d
        given[best, e] = counts[e]
        time[best] += max(compute_s[counts[e]], read_s)
    for d in range(num_dies):
        time[d] = die_time_s(given[d], compute_s, read_s, slices, in_flight)
    for _ in range(rounds):
        worst = int(np.argmax(time))
        goal = time[worst] * (1 - 1e-6)
        best_e, best_d, best_part = -1, -1, 0
        for e in range(num_experts):
            has = given[worst, e]
            part = has
            while part > 0:
                given[worst, e] = has - part
                left = die_time_s(given[worst], compute_s, read_s, slices, in_flight)
                given[worst, e] = has
                if left >= goal:
                    break
                for d in range(num_dies):
                    if d == worst or not allowed[e, d] or time[d] >= goal:
                        continue
                    given[d, e] += part
                    larger = max(left, die_time_s(given[d], compute_s, read_s, slices, in_flight))
                    given[d, e] -= part
                    if larger < goal:
                        best_e, best_d, best_part, goal = e, d, part, larger
                part //= 2
        if best_e < 0:
            changed = shift_chain(
                worst, time[worst] * (1 - 1e-6), allowed, compute_s, read_s, slices, in_flight,
                given,
            )  # fmt: skip
            if not changed.any():
                break
            for d in np.flatnonzero(changed):
                time[d] = die_time_s(given[d], compute_s, read_s, slices, in_flight)
            continue
        given[worst, best_e] -= best_part
        given[best_d, best_e] += best_part
        for d in (worst, best_d):
            time[d] = die_time_s(given[d], compute_s, read_s, slices, in_flight)


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
def order_all(
    die: NDArray[np.int64],
    product_s: NDArray[np.float64],
    read_s: float,
    slices: int,
    num_dies: int,
) -> NDArray[np.int64]:
    """Return ``task * slices + slice`` die after die, each die's by `order_slices`."""
    order = np.empty(die.size * slices, np.int64)
    taken = np.zeros(die.size, np.int64)
    at = 0
    for d in range(num_dies):
        mine = np.flatnonzero(die == d)
        for t in order_slices(product_s[mine], read_s, slices):
            order[at] = mine[t] * slices + taken[mine[t]]
            taken[mine[t]] += 1
            at += 1
    return order
