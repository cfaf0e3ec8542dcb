# mypy: disallow-untyped-decorators=False
"""Compiled: the way from a map to a better one, one exchange or replica at a time.

A layer is as slow as its slowest rank. Every step takes load off that rank: an exchange of two
experts with another rank, or a replica of one of its experts on another rank, in an empty slot or
in place of a redundant replica there. Steps are taken while they help; then the way is cut where
what it gains is furthest above what its moved replicas cost.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numba import njit

from moeplace.replay.scorer_kernels import slot_seconds
from moeplace.replay.training_kernels import ring_seconds

if TYPE_CHECKING:
    from numpy.typing import NDArray

HEAVIEST = 3  # experts of the slowest rank that replicas are tried of
GAIN = 1e-9  # relative; less than this is rounding
CLOSE_ENOUGH = 2e-3  # relative distance from the mean that ends the way


@njit(cache=True, nogil=True, error_model="numpy")
def improve_layers(
    load: NDArray[np.float64],
    table: NDArray[np.int32],
    rows: NDArray[np.int64],
    top_k: int,
    tokens: float,
    constants: NDArray[np.float64],
    link_s: NDArray[np.float64],
    slowest: NDArray[np.float64],
    sync_bytes: float,
    max_replicas: int,
    max_moves: int,
    worth: float,
    price_s: float,
    max_steps: int,
    moves: NDArray[np.int64],
) -> None:
    """Improve some layers of a map in place.

    Parameters
    ----------
    load
        (layers, experts) shares.
    table
        (layers, ranks, slots) experts, −1 empty, an expert at most once on a rank. Changed.
    rows
        Layers to improve.
    top_k, tokens
        Of a step.
    constants
        a, b, β of the compute model, all passes of a step included.
    link_s
        (ranks,) seconds that the share 1 of all pairs would take on the way to and from a rank.
    slowest, sync_bytes
        Seconds per byte between ranks, and gradient bytes of an expert; 0 in inference.
    max_replicas, max_moves
        Most replicas of a layer, and most that may be moved.
    worth
        Steps that a second saved is saved in.
    price_s
        Seconds that a moved replica costs.
    max_steps
        Longest way.
    moves
        (layers,) moved replicas; overwritten for `rows`.
    """
    ranks, slots = table.shape[1], table.shape[2]
    experts = load.shape[1]
    count = np.empty(experts, np.int64)
    holds = np.empty((experts, ranks), np.bool_)
    before = np.empty((experts, ranks), np.bool_)
    second = np.empty(experts)
    sync = np.zeros(experts)
    rank_s = np.empty(ranks)
    holders = np.empty(ranks, np.int64)
    for index in range(rows.size):
        layer = rows[index]
        moves[layer] = 0
        q = load[layer]
        work = table[layer]
        for e in range(experts):
            count[e] = 0
            for r in range(ranks):
                holds[e, r] = False
        total = 0
        for r in range(ranks):
            for s in range(slots):
                e = work[r, s]
                if e >= 0 and holds[e, r]:
                    work[r, s] = -1  # a second copy on a rank serves nothing
                elif e >= 0:
                    count[e] += 1
                    total += 1
                    holds[e, r] = True
        for e in range(experts):
            for r in range(ranks):
                before[e, r] = holds[e, r]
            second[e] = _slot(q[e], count[e], top_k, tokens, constants)
            sync[e] = _sync(e, holds, holders, slowest, sync_bytes)
        _ranks(work, q, count, second, sync, link_s, constants[0], rank_s)
        first = rank_s.max()
        if (first - rank_s.mean()) * worth <= price_s:
            continue
        best = work.copy()
        best_value, best_moves, moved, now = 0.0, 0, 0, first
        for _ in range(max_steps):
            full = 0
            mean = 0.0
            for r in range(ranks):
                mean += rank_s[r] / ranks
                if rank_s[r] > rank_s[full]:
                    full = r
            now = rank_s[full]
            if now <= mean * (1.0 + CLOSE_ENOUGH):
                break
            kind, slot, other, other_slot = _step(
                full, work, q, count, holds, before, second, sync, rank_s, link_s, top_k, tokens,
                constants, slowest, sync_bytes, holders, total < max_replicas, max_moves - moved,
                worth, price_s,
            )  # fmt: skip
            if kind == 0:
                break
            x, y = work[full, slot], work[other, other_slot]
            if kind == 1:
                work[full, slot], work[other, other_slot] = y, x
                holds[x, full], holds[x, other] = False, True
                moved += int(before[x, full]) - int(before[x, other])
                if y >= 0:
                    holds[y, other], holds[y, full] = False, True
                    moved += int(before[y, other]) - int(before[y, full])
            else:
                work[other, other_slot] = x
                holds[x, other] = True
                count[x] += 1
                moved += 1 - int(before[x, other])
                if y >= 0:
                    holds[y, other] = False
                    count[y] -= 1
                    moved -= 1 - int(before[y, other])
                else:
                    total += 1
            for e in (x, y):
                if e >= 0:
                    second[e] = _slot(q[e], count[e], top_k, tokens, constants)
                    sync[e] = _sync(e, holds, holders, slowest, sync_bytes)
            _ranks(work, q, count, second, sync, link_s, constants[0], rank_s)
            value = (first - rank_s.max()) * worth - price_s * moved
            if value > best_value * (1.0 + GAIN):
                best_value, best_moves = value, moved
                best[:, :] = work
        work[:, :] = best
        moves[layer] = best_moves


@njit(cache=True, nogil=True, error_model="numpy")
def _slot(
    share: float, count: int, top_k: int, tokens: float, constants: NDArray[np.float64]
) -> float:
    if count == 0:
        return 0.0
    return slot_seconds(share / count, top_k, tokens, constants[1], constants[2], 0.0, 0.0)


@njit(cache=True, nogil=True, error_model="numpy")
def _sync(
    expert: int,
    holds: NDArray[np.bool_],
    holders: NDArray[np.int64],
    slowest: NDArray[np.float64],
    nbytes: float,
) -> float:
    if nbytes == 0.0:
        return 0.0
    size = 0
    for r in range(holds.shape[1]):
        if holds[expert, r]:
            holders[size] = r
            size += 1
    return ring_seconds(holders, size, slowest, nbytes)


@njit(cache=True, nogil=True, error_model="numpy")
def _ranks(
    work: NDArray[np.int32],
    q: NDArray[np.float64],
    count: NDArray[np.int64],
    second: NDArray[np.float64],
    sync: NDArray[np.float64],
    link_s: NDArray[np.float64],
    floor: float,
    rank_s: NDArray[np.float64],
) -> None:
    for r in range(work.shape[0]):
        rank_s[r] = floor
        for s in range(work.shape[1]):
            e = work[r, s]
            if e >= 0:
                rank_s[r] += second[e] + sync[e] + link_s[r] * q[e] / count[e]


@njit(cache=True, nogil=True, error_model="numpy")
def _step(
    full: int,
    work: NDArray[np.int32],
    q: NDArray[np.float64],
    count: NDArray[np.int64],
    holds: NDArray[np.bool_],
    before: NDArray[np.bool_],
    second: NDArray[np.float64],
    sync: NDArray[np.float64],
    rank_s: NDArray[np.float64],
    link_s: NDArray[np.float64],
    top_k: int,
    tokens: float,
    constants: NDArray[np.float64],
    slowest: NDArray[np.float64],
    sync_bytes: float,
    holders: NDArray[np.int64],
    room: bool,
    budget: int,
    worth: float,
    price_s: float,
) -> tuple[int, int, int, int]:
    """Return the best step: 1 an exchange, 2 a replica, 0 none; slot, other rank, other slot."""
    ranks, slots = work.shape
    now = rank_s[full]
    best, kind, at, other, there = -np.inf, 0, 0, 0, 0
    limit = now * (1.0 - GAIN)
    for s in range(slots):
        x = work[full, s]
        if x < 0:
            continue
        cost_x = second[x] + sync[x]
        for h in range(ranks):
            if h == full or holds[x, h]:
                continue
            for t in range(slots):
                y = work[h, t]
                cost_y, away, here = 0.0, 0.0, 0.0
                more = int(before[x, full]) - int(before[x, h])
                if y >= 0:
                    if holds[y, full]:
                        continue
                    cost_y = second[y] + sync[y]
                    here = link_s[full] * q[y] / count[y]
                    away = link_s[h] * q[y] / count[y]
                    more += int(before[y, h]) - int(before[y, full])
                if cost_y >= cost_x or (more > 0 and more > budget):
                    continue
                after = max(
                    now - cost_x - link_s[full] * q[x] / count[x] + cost_y + here,
                    rank_s[h] + cost_x + link_s[h] * q[x] / count[x] - cost_y - away,
                )
                if after < limit:
                    value = (now - after) * worth - price_s * more
                    if value > best:
                        best, kind, at, other, there = value, 1, s, h, t
    done_above = np.inf
    for _ in range(HEAVIEST):
        s = -1
        for i in range(slots):
            x = work[full, i]
            if x >= 0 and second[x] < done_above and (s < 0 or second[x] > second[work[full, s]]):
                s = i
        if s < 0:
            break
        x = work[full, s]
        done_above = second[x]
        if count[x] == ranks:
            continue
        fewer = _slot(q[x], count[x] + 1, top_k, tokens, constants)
        for h in range(ranks):
            if h == full or holds[x, h]:
                continue
            t = -1
            for i in range(slots):
                y = work[h, i]
                if y < 0:
                    if room:
                        t = i
                        break
                elif count[y] > 1 and (
                    t < 0 or q[y] / count[y] < q[work[h, t]] / count[work[h, t]]
                ):
                    t = i
            if t < 0:
                continue
            y = work[h, t]
            more = 1 - int(before[x, h])
            if y >= 0:
                more -= 1 - int(before[y, h])
            if more > 0 and more > budget:
                continue
            holds[x, h] = True
            sync_x = _sync(x, holds, holders, slowest, sync_bytes)
            holds[x, h] = False
            load_x, load_x1 = q[x] / count[x], q[x] / (count[x] + 1)
            fuller, sync_y, load_y, load_y1 = 0.0, 0.0, 0.0, 0.0
            if y >= 0:
                fuller = _slot(q[y], count[y] - 1, top_k, tokens, constants)
                load_y, load_y1 = q[y] / count[y], q[y] / (count[y] - 1)
                holds[y, h] = False
                sync_y = _sync(y, holds, holders, slowest, sync_bytes)
                holds[y, h] = True
            after = 0.0
            for r in range(ranks):
                seconds = rank_s[r]
                if r == h:
                    seconds += fewer + sync_x + link_s[r] * load_x1
                    if y >= 0:
                        seconds -= second[y] + sync[y] + link_s[r] * load_y
                else:
                    if holds[x, r]:
                        seconds += fewer - second[x] + sync_x - sync[x]
                        seconds += link_s[r] * (load_x1 - load_x)
                    if y >= 0 and holds[y, r]:
                        seconds += fuller - second[y] + sync_y - sync[y]
                        seconds += link_s[r] * (load_y1 - load_y)
                if r == full or r == h or seconds > now:
                    after = max(after, seconds)
            if after < limit:
                value = (now - after) * worth - price_s * more
                if value > best:
                    best, kind, at, other, there = value, 2, s, h, t
    return kind, at, other, there
