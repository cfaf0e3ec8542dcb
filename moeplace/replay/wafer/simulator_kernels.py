"""The event loop of one layer: slices are looked up, read, moved over held routes and used."""

from __future__ import annotations

from heapq import heappop, heappush
from typing import TYPE_CHECKING

import numpy as np
from numba import njit

if TYPE_CHECKING:
    from numpy.typing import NDArray

ISSUE, AT_SOURCE, READ, RELEASED, ARRIVED, READY, COMPUTED = range(7)
# Columns of `times` and of the counts that come back.
HIT, MISS, WRITE, HBM, LINK, HOP = range(6)
HOPS, READS, WRITES, MOVED, LINK_SLICES, HITS = range(6)


@njit(cache=True, nogil=True)
def find(keys: NDArray[np.int64], used: NDArray[np.float64], key: int, now: float) -> bool:
    """Tell whether a cache holds a key, and mark it used."""
    for i in range(keys.shape[0]):
        if keys[i] == key:
            used[i] = now
            return True
    return False


@njit(cache=True, nogil=True)
def insert(keys: NDArray[np.int64], used: NDArray[np.float64], key: int, now: float) -> None:
    """Put a key into a cache in place of the least recently used one."""
    oldest = -1
    for i in range(keys.shape[0]):
        if keys[i] == key:
            used[i] = now
            return
        if oldest < 0 or used[i] < used[oldest]:
            oldest = i
    if oldest >= 0:
        keys[oldest] = key
        used[oldest] = now


@njit(cache=True, nogil=True)
def start_transfers(
    now: float,
    waiting: NDArray[np.int64],
    num_waiting: int,
    next_joined: NDArray[np.int64],
    die: NDArray[np.int64],
    source: NDArray[np.int64],
    slices: int,
    num_dies: int,
    route_start: NDArray[np.int64],
    route_edges: NDArray[np.int64],
    edge_free: NDArray[np.float64],
    stamp: NDArray[np.int64],
    times: NDArray[np.float64],
    counts: NDArray[np.int64],
    heap: list[tuple[float, int, int, int]],
    order: int,
) -> tuple[int, int]:
    """Start every waiting transfer whose whole route is free, first come first.

    A transfer to several dies (`next_joined`) holds the union of their routes. Returns the next
    event number and how many still wait; `waiting` keeps its order.
    """
    left = 0
    for w in range(num_waiting):
        item = waiting[w]
        there = source[item // slices, item % slices]
        longest = 0
        free = True
        member = item
        while member >= 0 and free:
            pair = there * num_dies + die[member // slices]
            longest = max(longest, route_start[pair + 1] - route_start[pair])
            for i in range(route_start[pair], route_start[pair + 1]):
                free = free and edge_free[route_edges[i]] <= now
            member = next_joined[member]
        if not free:
            waiting[left] = item
            left += 1
            continue
        after = now + times[HOP] * longest + times[LINK]
        heappush(heap, (after, order, RELEASED, item))
        order += 1
        member = item
        while member >= 0:
            pair = there * num_dies + die[member // slices]
            for i in range(route_start[pair], route_start[pair + 1]):
                if stamp[route_edges[i]] != item:
                    stamp[route_edges[i]] = item
                    edge_free[route_edges[i]] = after
                    counts[LINK_SLICES] += 1
            counts[MOVED] += 1
            heappush(heap, (after, order, ARRIVED, member))
            order += 1
            late = next_joined[member]
            next_joined[member] = -1
            member = late
    return order, left


@njit(cache=True, nogil=True)
def run_events(
    die: NDArray[np.int64],
    expert: NDArray[np.int64],
    tokens: NDArray[np.int64],
    keep: NDArray[np.bool_],
    source: NDArray[np.int64],
    order: NDArray[np.int64],
    num_dies: int,
    num_experts: int,
    num_edges: int,
    route_start: NDArray[np.int64],
    route_edges: NDArray[np.int64],
    compute_s: NDArray[np.float64],
    times: NDArray[np.float64],
    llc_slices: int,
    in_flight: int,
    multicast: bool,
    counts: NDArray[np.int64],
    busy: NDArray[np.float64],
) -> float:
    """Run the tasks of one layer and return the seconds until the last product is done.

    Every die works through its slices in the order given, `in_flight` slices at a time. Cache
    port, HBM and matrix units of a die do one thing at a time, first come first served. A transfer
    holds every edge of its route while it lasts; it starts when all are free, and of those that
    wait the first that can.

    Parameters
    ----------
    die, expert, tokens
        (tasks,) who computes how many requests of which expert.
    keep
        (tasks,) whether what comes from another die is written to this die's HBM.
    source
        (tasks, slices) the die that each slice is read from.
    order
        (tasks * slices,) numbers ``task * slices + slice`` in the order in which dies begin them.
    num_dies, num_experts, num_edges
        Sizes.
    route_start, route_edges
        As in `Machine`.
    compute_s
        (tokens + 1,) seconds of a slice.
    times
        (6,) seconds: hit, miss, cache write, HBM per slice, link per slice, hop.
    llc_slices
        Slices in a cache.
    in_flight
        Slices of a die on their way or waiting to be computed with.
    multicast
        Whether requests to one die for one slice that wait together share a tree of XY routes.
    counts
        (6,) out: hops, HBM reads, HBM writes, slices moved, slices times edges, cache hits.
    busy
        (dies, 2) out: seconds of HBM and of matrix units.
    """
    num_tasks, slices = source.shape
    items = num_tasks * slices
    queue = order[np.argsort(die[order // slices], kind="mergesort")]
    first = np.zeros(num_dies + 1, np.int64)
    for t in range(num_tasks):
        first[die[t] + 1] += slices
    for d in range(num_dies):
        first[d + 1] += first[d]
    following = first[:num_dies].copy()
    port = np.zeros(num_dies)
    hbm = np.zeros(num_dies)
    units = np.zeros(num_dies)
    edge_free = np.zeros(num_edges)
    waiting = np.empty(items, np.int64)
    num_waiting = 0
    keys = np.full((num_dies, llc_slices), -1, np.int64)
    used = np.full((num_dies, llc_slices), -1.0)
    stamp = np.full(num_edges, -1, np.int64)
    # Requests that wait for the same read, by (source, expert, slice): a list of items.
    joined = np.full(num_dies * num_experts * slices if multicast else 1, -1, np.int64)
    next_joined = np.full(items, -1, np.int64)
    heap = [(0.0, 0, 0, 0)]
    heap.pop()
    number = 0
    for d in range(num_dies):
        for _ in range(min(in_flight, first[d + 1] - first[d])):
            heappush(heap, (0.0, number, ISSUE, queue[following[d]]))
            following[d] += 1
            number += 1
    end = 0.0
    while len(heap) > 0:
        now, _, kind, item = heappop(heap)
        task = item // slices
        part = item % slices
        here = die[task]
        there = source[task, part]
        key = expert[task] * slices + part
        group = there * num_experts * slices + key
        after = now
        then = -1
        if kind == ISSUE:
            begin = max(now, port[here])
            if find(keys[here], used[here], key, begin):
                after = begin + times[HIT]
                counts[HITS] += 1
                then = READY
            else:
                after = begin + times[MISS]
                then = AT_SOURCE
            port[here] = after
            if then == AT_SOURCE and here != there:
                path = route_start[here * num_dies + there]
                length = route_start[here * num_dies + there + 1] - path
                counts[HOPS] += length
                after += times[HOP] * length
        elif kind == AT_SOURCE:
            hit = False
            if here != there:
                if multicast:
                    if joined[group] >= 0:
                        next_joined[item] = next_joined[joined[group]]
                        next_joined[joined[group]] = item
                        continue
                    joined[group] = item
                begin = max(now, port[there])
                hit = find(keys[there], used[there], key, begin)
                after = begin + (times[HIT] if hit else times[MISS])
                port[there] = after
            if hit:
                counts[HITS] += 1
            else:
                begin = max(after, hbm[there])
                after = begin + times[HBM]
                hbm[there] = after
                busy[there, 0] += times[HBM]
                counts[READS] += 1
            then = READ
        elif kind == READ:
            insert(keys[there], used[there], key, now)
            if here == there:
                after = now + times[WRITE]
                then = READY
            else:
                waiting[num_waiting] = item
                num_waiting += 1
                if multicast:
                    joined[group] = -1
                number, num_waiting = start_transfers(
                    now, waiting, num_waiting, next_joined, die, source, slices, num_dies,
                    route_start, route_edges, edge_free, stamp, times, counts, heap, number,
                )  # fmt: skip
                continue
        elif kind == RELEASED:
            number, num_waiting = start_transfers(
                now, waiting, num_waiting, next_joined, die, source, slices, num_dies,
                route_start, route_edges, edge_free, stamp, times, counts, heap, number,
            )  # fmt: skip
            continue
        elif kind == ARRIVED:
            insert(keys[here], used[here], key, now)
            if keep[task]:
                hbm[here] = max(now, hbm[here]) + times[HBM]
                busy[here, 0] += times[HBM]
                counts[WRITES] += 1
            after = now + times[WRITE]
            then = READY
        elif kind == READY:
            spent = compute_s[tokens[task]]
            after = max(now, units[here]) + spent
            units[here] = after
            busy[here, 1] += spent
            then = COMPUTED
        else:
            end = max(end, now)
            if following[here] < first[here + 1]:
                item = queue[following[here]]
                following[here] += 1
                then = ISSUE
        if then >= 0:
            heappush(heap, (after, number, then, item))
            number += 1
    return end
