# mypy: disallow-untyped-decorators=False
"""Compiled: the way from a map to a better one, one exchange or replica at a time.

A layer is as slow as its slowest rank. Every step takes load off that rank: an exchange of two
experts with another rank, a replica of one of its experts on another rank (in an empty slot or in
place of a redundant replica there), or the end of a redundant replica. Steps are taken while they
help; then the way is cut where what it gains is furthest above what its moved replicas cost.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numba import njit

from moeplace.replay.scorer_kernels import slot_seconds
from moeplace.replay.training_kernels import ring_seconds

if TYPE_CHECKING:
    from numpy.typing import NDArray

PARTNERS = 4  # lightest ranks that take what the slowest gives
HEAVIEST = 3  # experts of the slowest rank that replicas are tried of
GAIN = 1e-9  # relative; less than this is rounding
CLOSE_ENOUGH = 2e-3  # relative distance from the mean that ends the way
PATIENCE = 16  # steps without a better net gain after which the way ends


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
    twice: bool,
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
        (layers, ranks, slots) experts, −1 empty. Changed.
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
    twice
        Whether an expert may have several slots on a rank, which share its weights; without it,
        all but the first are emptied.
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
    on = np.empty((experts, ranks), np.int16)  # small, so that it stays in the nearest cache
    before = np.empty((experts, ranks), np.bool_)
    part = np.empty(experts)  # share of a replica
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
                on[e, r] = 0
        total = 0
        for r in range(ranks):
            for s in range(slots):
                e = work[r, s]
                if e >= 0 and on[e, r] > 0 and not twice:
                    work[r, s] = -1
                elif e >= 0:
                    count[e] += 1
                    total += 1
                    on[e, r] += 1
        for e in range(experts):
            for r in range(ranks):
                before[e, r] = on[e, r] > 0
            part[e] = q[e] / count[e]
            second[e] = _slot(q[e], count[e], top_k, tokens, constants)
            sync[e] = _sync(e, on, holders, slowest, sync_bytes)
        for r in range(ranks):
            rank_s[r] = _rank(r, work, part, on, second, sync, link_s, constants[0])
        first = rank_s.max()
        if (first - rank_s.mean()) * worth <= price_s and sync_bytes == 0.0:
            continue
        best = work.copy()
        best_value, best_moves, moved, now, waited = 0.0, 0, 0, first, 0
        for _ in range(max_steps):
            full = 0
            mean = 0.0
            for r in range(ranks):
                mean += rank_s[r] / ranks
                if rank_s[r] > rank_s[full]:
                    full = r
            if rank_s[full] > now * (1.0 + GAIN):
                break
            now = rank_s[full]
            if sync_bytes == 0.0 and (first - mean) * worth - price_s * moved <= best_value:
                break  # even perfect balance would not pay for what is moved by now
            if now <= mean * (1.0 + CLOSE_ENOUGH) and sync_bytes == 0.0:
                break
            kind, slot, other, other_slot = _step(
                full, work, q, count, part, on, before, second, sync, rank_s, link_s, top_k, tokens,
                constants, slowest, sync_bytes, holders, twice, total < max_replicas,
                max_moves - moved, worth, price_s,
            )  # fmt: skip
            if kind == 0:
                break
            x, y = np.int64(work[full, slot]), np.int64(work[other, other_slot])
            if kind == 1:
                moved += _more(x, full, other, on, before)
                if y >= 0:
                    moved += _more(y, other, full, on, before)
                    on[y, other] -= 1
                    on[y, full] += 1
                work[full, slot], work[other, other_slot] = y, x
                on[x, full] -= 1
                on[x, other] += 1
            elif kind == 2:
                moved += int(on[x, other] == 0 and not before[x, other])
                if y >= 0:
                    moved -= int(on[y, other] == 1 and not before[y, other])
                    on[y, other] -= 1
                    count[y] -= 1
                else:
                    total += 1
                work[other, other_slot] = x
                on[x, other] += 1
                count[x] += 1
            else:
                moved -= int(on[x, full] == 1 and not before[x, full])
                work[full, slot] = -1
                on[x, full] -= 1
                count[x] -= 1
                total -= 1
                y = np.int64(-1)
            for e in (x, y):
                if e >= 0:
                    part[e] = q[e] / count[e]
                    second[e] = _slot(q[e], count[e], top_k, tokens, constants)
                    sync[e] = _sync(e, on, holders, slowest, sync_bytes)
            for r in range(ranks):
                if on[x, r] > 0 or (y >= 0 and on[y, r] > 0) or r in (full, other):
                    rank_s[r] = _rank(r, work, part, on, second, sync, link_s, constants[0])
            value = (first - rank_s.max()) * worth - price_s * moved
            if value > best_value * (1.0 + GAIN):
                best_value, best_moves, waited = value, moved, 0
                best[:, :] = work
            else:
                waited += 1
                if waited == PATIENCE:
                    break
        work[:, :] = best
        moves[layer] = best_moves


@njit(cache=True, nogil=True, error_model="numpy")
def _more(expert: int, away: int, to: int, on: NDArray[np.int16], before: NDArray[np.bool_]) -> int:
    """Return how many more replicas are moved when one goes from a rank to another."""
    fresh = int(on[expert, to] == 0 and not before[expert, to])
    return fresh - int(on[expert, away] == 1 and not before[expert, away])


@njit(cache=True, nogil=True, error_model="numpy")
def _slot(
    share: float, count: int, top_k: int, tokens: float, constants: NDArray[np.float64]
) -> float:
    if count == 0:
        return 0.0
    seconds: float = slot_seconds(
        share / count, top_k, tokens, constants[1], constants[2], 0.0, 0.0
    )
    return seconds


@njit(cache=True, nogil=True, error_model="numpy")
def _sync(
    expert: int,
    on: NDArray[np.int16],
    holders: NDArray[np.int64],
    slowest: NDArray[np.float64],
    nbytes: float,
) -> float:
    if nbytes == 0.0:
        return 0.0
    size = 0
    for r in range(on.shape[1]):
        if on[expert, r] > 0:
            holders[size] = r
            size += 1
    seconds: float = ring_seconds(holders, size, slowest, nbytes)
    return seconds


@njit(cache=True, nogil=True, error_model="numpy")
def _rank(
    rank: int,
    work: NDArray[np.int32],
    part: NDArray[np.float64],
    on: NDArray[np.int16],
    second: NDArray[np.float64],
    sync: NDArray[np.float64],
    link_s: NDArray[np.float64],
    floor: float,
) -> float:
    seconds = floor
    for s in range(work.shape[1]):
        e = work[rank, s]
        if e >= 0:
            seconds += second[e] + sync[e] / on[e, rank] + link_s[rank] * part[e]
    return seconds


@njit(cache=True, nogil=True, error_model="numpy")
def _after(
    full: int,
    other: int,
    x: int,
    y: int,
    q: NDArray[np.float64],
    count: NDArray[np.int64],
    part: NDArray[np.float64],
    on: NDArray[np.int16],
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
    cut: float,
) -> float:
    """Return the largest time of a rank when a slot of `other` turns from y into x; −1 is none.

    Where it is more than `cut`, anything more than `cut` may be returned.
    """
    slot_x, load_x, sync_x, slot_y, load_y, sync_y = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
    if x >= 0:
        slot_x = _slot(q[x], count[x] + 1, top_k, tokens, constants)
        load_x = q[x] / (count[x] + 1)
        on[x, other] += 1
        sync_x = _sync(x, on, holders, slowest, sync_bytes)
        on[x, other] -= 1
    if y >= 0:
        slot_y = _slot(q[y], count[y] - 1, top_k, tokens, constants)
        load_y = q[y] / (count[y] - 1)
        on[y, other] -= 1
        sync_y = _sync(y, on, holders, slowest, sync_bytes)
        on[y, other] += 1
    after = 0.0
    now = rank_s[full]
    for turn in range(rank_s.size + 2):  # the two ranks that decide nearly always come first
        r = full if turn == 0 else other if turn == 1 else turn - 2
        old_x = on[x, r] if x >= 0 else 0
        old_y = on[y, r] if y >= 0 else 0
        if turn > 1 and ((old_x == 0 and old_y == 0) or r in (full, other)):
            continue
        seconds = rank_s[r]
        if x >= 0:
            new = old_x + int(r == other)
            if new > 0:
                seconds += new * (slot_x + link_s[r] * load_x) + sync_x
            if old_x > 0:
                seconds -= old_x * (second[x] + link_s[r] * part[x]) + sync[x]
        if y >= 0:
            new = old_y - int(r == other)
            if new > 0:
                seconds += new * (slot_y + link_s[r] * load_y) + sync_y
            if old_y > 0:
                seconds -= old_y * (second[y] + link_s[r] * part[y]) + sync[y]
        if turn < 2 or seconds > now:
            after = max(after, seconds)
            if after > cut:
                break
    return after


@njit(cache=True, nogil=True, error_model="numpy")
def _cut(now: float, least: float, worth: float) -> float:
    """Return the time of the slowest rank above which a step is not worth `least`."""
    return (now - least / worth) * (1.0 + 1e-12) if least > -np.inf else np.inf


@njit(cache=True, nogil=True, error_model="numpy")
def _step(
    full: int,
    work: NDArray[np.int32],
    q: NDArray[np.float64],
    count: NDArray[np.int64],
    part: NDArray[np.float64],
    on: NDArray[np.int16],
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
    twice: bool,
    room: bool,
    budget: int,
    worth: float,
    price_s: float,
) -> tuple[int, int, int, int]:
    """Return the best step: 1 exchange, 2 replica, 3 end, 0 none; slot, other rank, its slot."""
    ranks, slots = work.shape
    now = rank_s[full]
    best, kind, at, other, there = -np.inf, 0, 0, 0, 0
    limit = now * (1.0 - GAIN)
    partners = np.empty(min(PARTNERS, ranks - 1), np.int64)
    known = 0
    for h in range(ranks):
        if h == full or (known == partners.size and rank_s[h] >= rank_s[partners[known - 1]]):
            continue
        i = min(known, partners.size - 1)
        while i > 0 and rank_s[h] < rank_s[partners[i - 1]]:
            partners[i] = partners[i - 1]
            i -= 1
        partners[i] = h
        known = min(known + 1, partners.size)
    there_s, here_s = np.empty(slots), np.empty(slots)
    cut = limit  # times above it are of no use, though an exchange moved two replicas back
    for h in partners:
        for t in range(slots):
            y = work[h, t]
            there_s[t] = second[y] + link_s[h] * part[y] if y >= 0 else 0.0
            here_s[t] = second[y] + link_s[full] * part[y] if y >= 0 else 0.0
        for s in range(slots):
            x = work[full, s]
            if x < 0 or (on[x, h] > 0 and not twice):
                continue
            here = now - second[x] - link_s[full] * part[x]
            away = rank_s[h] + second[x] + link_s[h] * part[x]
            if on[x, full] == 1:
                here -= sync[x]
            if on[x, h] == 0:
                away += sync[x]
            for t in range(slots):
                after, away_y = here + here_s[t], away - there_s[t]
                # Looked at first: it excludes most.
                if sync_bytes == 0.0 and max(after, away_y) >= cut:
                    continue
                y = work[h, t]
                if y == x:
                    continue
                if y >= 0:
                    if on[y, full] > 0 and not twice:
                        continue
                    if on[y, full] == 0:
                        after += sync[y]
                    if on[y, h] == 1:
                        away_y -= sync[y]
                after = max(after, away_y)
                if after >= limit:
                    continue
                more = _more(x, full, h, on, before)
                if y >= 0:
                    more += _more(y, h, full, on, before)
                if more > 0 and more > budget:
                    continue
                value = (now - after) * worth - price_s * more
                if value > best:
                    best, kind, at, other, there = value, 1, s, h, t
                    cut = min(limit, _cut(now, best - 2.0 * price_s, worth))
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
        for h in partners:
            if on[x, h] > 0 and not twice:
                continue
            t = -1
            for i in range(slots):
                y = work[h, i]
                if y < 0 and room:
                    t = i
                    break
                lighter = t < 0 or part[y] < part[work[h, t]]
                if y >= 0 and y != x and count[y] > 1 and lighter:
                    t = i
            if t < 0:
                continue
            y = work[h, t]
            more = int(on[x, h] == 0 and not before[x, h])
            if y >= 0:
                more -= int(on[y, h] == 1 and not before[y, h])
            if more > 0 and more > budget:
                continue
            after = _after(
                full, h, x, y, q, count, part, on, second, sync, rank_s, link_s, top_k, tokens,
                constants, slowest, sync_bytes, holders, _cut(now, best + price_s * more, worth),
            )  # fmt: skip
            if after < limit:
                value = (now - after) * worth - price_s * more
                if value > best:
                    best, kind, at, other, there = value, 2, s, h, t
    for s in range(slots):
        x = work[full, s]
        if x < 0 or count[x] < 2:
            continue
        after = _after(
            full, full, -1, x, q, count, part, on, second, sync, rank_s, link_s, top_k, tokens,
            constants, slowest, sync_bytes, holders, _cut(now, best, worth),
        )  # fmt: skip
        if after < limit:
            value = (now - after) * worth
            if value > best:
                best, kind, at, other, there = value, 3, s, full, s
    return kind, at, other, there
