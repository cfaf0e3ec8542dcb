"""Compiled passes of Fiduccia and Mattheyses (DAC 1982) over k ranks, for weighted vertices."""
# mypy: disallow-untyped-decorators=False

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numba import njit

from moeplace.formulations.partition.kernels import move

if TYPE_CHECKING:
    from numpy.typing import NDArray

NEVER = -(2**62)


@njit(cache=True, nogil=True)
def _sift(
    heap: NDArray[np.int32], place: NDArray[np.int64], key: NDArray[np.int64], i: int, n: int
) -> None:
    """Restore the order of a max-heap after the key of its i-th entry changed."""
    v = heap[i]
    while i > 0:
        up = (i - 1) // 2
        if key[heap[up]] >= key[v]:
            break
        heap[i] = heap[up]
        place[heap[i]] = i
        i = up
    while True:
        down = 2 * i + 1
        if down >= n:
            break
        if down + 1 < n and key[heap[down + 1]] > key[heap[down]]:
            down += 1
        if key[heap[down]] <= key[v]:
            break
        heap[i] = heap[down]
        place[heap[i]] = i
        i = down
    heap[i] = v
    place[v] = i


@njit(cache=True, nogil=True)
def _drop(
    heap: NDArray[np.int32], place: NDArray[np.int64], key: NDArray[np.int64], v: int, n: int
) -> None:
    """Take v out of a heap of n entries."""
    i = place[v]
    place[v] = -1
    last = heap[n - 1]
    if last != v:
        heap[i] = last
        place[last] = i
        _sift(heap, place, key, i, n - 1)


@njit(cache=True, nogil=True)
def _over(size: int, load: int, limit: int, load_limit: int, slot_price: int) -> int:
    return max(0, size - limit) * slot_price + max(0, load - load_limit)


@njit(cache=True, nogil=True)
def _target(
    v: int,
    own: int,
    enter: NDArray[np.int64],
    size: int,
    load: int,
    rank_size: NDArray[np.int64],
    rank_load: NDArray[np.int64],
    limit: NDArray[np.int64],
    load_limit: NDArray[np.int64],
    slack: int,
    load_slack: int,
) -> int:
    """Return the rank that costs v least to enter and has room; the emptiest among equals."""
    best = -1
    for r in range(limit.size):
        if r == own:
            continue
        if (
            rank_size[r] + size > limit[r] + slack
            or rank_load[r] + load > load_limit[r] + load_slack
        ):
            continue
        if best >= 0:
            if enter[v, r] > enter[v, best]:
                continue
            if enter[v, r] == enter[v, best] and (
                rank_size[r] - limit[r] >= rank_size[best] - limit[best]
            ):
                continue
        best = r
    return best


@njit(cache=True, nogil=True)
def fm_pass(
    net_start: NDArray[np.int64],
    pin: NDArray[np.int32],
    net_weight: NDArray[np.int64],
    vertex_start: NDArray[np.int64],
    net: NDArray[np.int32],
    size: NDArray[np.int64],
    load: NDArray[np.int64],
    part: NDArray[np.int32],
    count: NDArray[np.uint16],
    enter: NDArray[np.int64],
    leave: NDArray[np.int64],
    limit: NDArray[np.int64],
    load_limit: NDArray[np.int64],
    slack: int,
    load_slack: int,
    slot_price: int,
    patience: int,
    order: NDArray[np.int64],
) -> tuple[int, int]:
    """Move every vertex at most once, best gain first; go back to the best state passed.

    Out of balance, only vertices of ranks above their limit move.

    Parameters
    ----------
    limit, load_limit
        (ranks,) what a rank may hold at the end.
    slack, load_slack
        What it may hold above that meanwhile.
    slot_price
        Load that weighs as much as a slot above the limit.
    patience
        Moves without a better state before the pass ends.
    order
        (vertices,) breaks ties.

    Returns
    -------
    change of Σ w · λ, what is above the limits at the end
    """
    vertices, ranks = enter.shape
    rank_size = np.zeros(ranks, np.int64)
    rank_load = np.zeros(ranks, np.int64)
    for u in range(vertices):
        rank_size[part[u]] += size[u]
        rank_load[part[u]] += load[u]
    over = 0
    for r in range(ranks):
        over += _over(rank_size[r], rank_load[r], limit[r], load_limit[r], slot_price)
    heap = np.empty((ranks, vertices), np.int32)
    filled = np.zeros(ranks, np.int64)
    place = np.empty(vertices, np.int64)  # −1 in no heap, −2 moved
    key = np.empty(vertices, np.int64)
    stamp = np.empty(vertices, np.int64)
    for u in range(vertices):
        place[u] = -1
        key[u] = NEVER
        stamp[u] = -1
    for v in order:
        home = np.int64(part[v])
        crowded = (
            _over(rank_size[home], rank_load[home], limit[home], load_limit[home], slot_price) > 0
        )
        if leave[v] == 0 and not crowded:
            outside = False
            for j in range(vertex_start[v], vertex_start[v + 1]):
                t = net[j]
                if count[t, home] < net_start[t + 1] - net_start[t]:
                    outside = True
                    break
            if not outside:
                continue
        goal = _target(
            v, home, enter, size[v], load[v], rank_size, rank_load,
            limit, load_limit, slack, load_slack,
        )  # fmt: skip
        if goal < 0:
            continue
        key[v] = leave[v] - enter[v, goal]
        heap[home, filled[home]] = v
        place[v] = filled[home]
        filled[home] += 1
        _sift(heap[home], place, key, place[v], filled[home])
    moved = np.empty(vertices, np.int32)
    came_from = np.empty(vertices, np.int32)
    moves = 0
    value = 0
    best_value, best_over, best_moves = 0, over, 0
    while moves - best_moves <= patience:
        a = -1
        for r in range(ranks):
            if filled[r] == 0:
                continue
            if (
                over > 0
                and _over(rank_size[r], rank_load[r], limit[r], load_limit[r], slot_price) == 0
            ):
                continue
            if a < 0 or key[heap[r, 0]] > key[heap[a, 0]]:
                a = r
        if a < 0:
            break
        v = np.int64(heap[a, 0])
        b = _target(
            v, a, enter, size[v], load[v], rank_size, rank_load,
            limit, load_limit, slack, load_slack,
        )  # fmt: skip
        gain = leave[v] - enter[v, b] if b >= 0 else NEVER
        if b < 0:
            _drop(heap[a], place, key, v, filled[a])
            filled[a] -= 1
            continue
        if gain < key[v]:
            key[v] = gain
            _sift(heap[a], place, key, place[v], filled[a])
            if heap[a, 0] != v:
                continue
        _drop(heap[a], place, key, v, filled[a])
        filled[a] -= 1
        place[v] = -2
        over -= _over(rank_size[a], rank_load[a], limit[a], load_limit[a], slot_price)
        over -= _over(rank_size[b], rank_load[b], limit[b], load_limit[b], slot_price)
        rank_size[a] -= size[v]
        rank_load[a] -= load[v]
        rank_size[b] += size[v]
        rank_load[b] += load[v]
        over += _over(rank_size[a], rank_load[a], limit[a], load_limit[a], slot_price)
        over += _over(rank_size[b], rank_load[b], limit[b], load_limit[b], slot_price)
        value += move(
            v, b, net_start, pin, net_weight, vertex_start, net, part, count, enter, leave
        )
        moved[moves] = v
        came_from[moves] = a
        moves += 1
        if over < best_over or (over == best_over and value < best_value):
            best_value, best_over, best_moves = value, over, moves
        for j in range(vertex_start[v], vertex_start[v + 1]):
            t = net[j]
            if count[t, a] > 1 and count[t, b] > 2:
                continue
            for i in range(net_start[t], net_start[t + 1]):
                near = np.int64(pin[i])
                if place[near] == -2 or stamp[near] == moves:
                    continue
                stamp[near] = moves
                home = np.int64(part[near])
                goal = _target(
                    near, home, enter, size[near], load[near], rank_size, rank_load,
                    limit, load_limit, slack, load_slack,
                )  # fmt: skip
                if goal < 0:
                    continue
                key[near] = leave[near] - enter[near, goal]
                if place[near] < 0:
                    heap[home, filled[home]] = near
                    place[near] = filled[home]
                    filled[home] += 1
                _sift(heap[home], place, key, place[near], filled[home])
    for i in range(moves - 1, best_moves - 1, -1):
        move(
            np.int64(moved[i]), np.int64(came_from[i]),
            net_start, pin, net_weight, vertex_start, net, part, count, enter, leave,
        )  # fmt: skip
    return best_value, best_over
