# mypy: disallow-untyped-decorators=False
"""Compiled: FlexMoE's scheduler and policy maker on one layer after the other."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numba import njit

from moeplace.replay.training_kernels import ring_seconds

if TYPE_CHECKING:
    from numpy.typing import NDArray

GAIN = 1e-9  # relative; a time that falls by less has not fallen


@njit(cache=True, nogil=True, error_model="numpy")
def schedule_layers(
    load: NDArray[np.float64],
    table: NDArray[np.int32],
    pair_s: NDArray[np.float64],
    slowest: NDArray[np.float64],
    sync_bytes: float,
    threshold: float,
    max_changes: int,
    migrate: bool,
    changes: NDArray[np.int64],
) -> None:
    """Change vExperts in place while a layer is out of balance and the policy maker knows better.

    Parameters
    ----------
    load
        (layers, experts) shares.
    table
        (layers, ranks, slots) the expert of every vExpert, −1 empty; several of one expert on a
        rank share one copy of its weights.
    pair_s
        (ranks,) seconds of compute and all-to-all that the share 1 takes on a rank.
    slowest, sync_bytes
        Seconds per byte between ranks, and gradient bytes of an expert; 0 in inference.
    threshold
        Balance ratio above which vExperts change.
    max_changes
        Most pairs of Expand and Shrink a layer.
    migrate
        Whether to look for exchanges that shorten synchronization afterwards.
    changes
        (layers,) vExperts changed; overwritten.
    """
    layers, ranks, slots = table.shape
    experts = load.shape[1]
    count = np.empty(experts, np.int64)
    rank_s = np.empty(ranks)
    sync_s = np.empty(ranks)
    holders = np.empty((experts, ranks), np.int64)
    size = np.empty(experts, np.int64)
    for layer in range(layers):
        changes[layer] = 0
        q, work = load[layer], table[layer]
        now = _time(q, work, pair_s, slowest, sync_bytes, count, rank_s, sync_s, holders, size)
        for _ in range(max_changes):
            if _ratio(q, work, count) <= threshold:
                break
            most, least = 0, -1
            for e in range(experts):
                if q[e] / count[e] > q[most] / count[most]:
                    most = e
            for e in range(experts):
                rarer = least < 0 or q[e] / count[e] < q[least] / count[least]
                if e != most and count[e] > 1 and rarer:
                    least = e
            best, rank, slot = now * (1.0 - GAIN), -1, -1
            for r in range(ranks):
                for s in range(slots):
                    y = work[r, s]
                    if y >= 0 and y != least:
                        continue
                    work[r, s] = most
                    after = _time(
                        q, work, pair_s, slowest, sync_bytes, count, rank_s, sync_s, holders, size
                    )
                    work[r, s] = y
                    if after < best:
                        best, rank, slot = after, r, s
            if rank < 0:
                break
            work[rank, slot] = most
            changes[layer] += 1
            now = _time(q, work, pair_s, slowest, sync_bytes, count, rank_s, sync_s, holders, size)
        if migrate and sync_bytes > 0.0:
            changes[layer] += _migrate(
                q, work, pair_s, slowest, sync_bytes, count, rank_s, sync_s, holders, size
            )


@njit(cache=True, nogil=True, error_model="numpy")
def _ratio(q: NDArray[np.float64], work: NDArray[np.int32], count: NDArray[np.int64]) -> float:
    largest, total = 0.0, 0.0
    for r in range(work.shape[0]):
        held = 0.0
        for s in range(work.shape[1]):
            if work[r, s] >= 0:
                held += q[work[r, s]] / count[work[r, s]]
        largest = max(largest, held)
        total += held
    return largest * work.shape[0] / total if total > 0.0 else 1.0


@njit(cache=True, nogil=True, error_model="numpy")
def _time(
    q: NDArray[np.float64],
    work: NDArray[np.int32],
    pair_s: NDArray[np.float64],
    slowest: NDArray[np.float64],
    sync_bytes: float,
    count: NDArray[np.int64],
    rank_s: NDArray[np.float64],
    sync_s: NDArray[np.float64],
    holders: NDArray[np.int64],
    size: NDArray[np.int64],
) -> float:
    """Return max over ranks of compute, all-to-all and synchronization (equation 5)."""
    ranks, slots = work.shape
    for e in range(count.size):
        count[e] = 0
        size[e] = 0
    for r in range(ranks):
        rank_s[r] = 0.0
        sync_s[r] = 0.0
        for s in range(slots):
            e = work[r, s]
            if e >= 0:
                count[e] += 1
                if size[e] == 0 or holders[e, size[e] - 1] != r:
                    holders[e, size[e]] = r
                    size[e] += 1
    for r in range(ranks):
        for s in range(slots):
            e = work[r, s]
            if e >= 0:
                rank_s[r] += pair_s[r] * q[e] / count[e]
    if sync_bytes > 0.0:
        for e in range(count.size):
            seconds = ring_seconds(holders[e], size[e], slowest, sync_bytes)
            for i in range(size[e]):
                sync_s[holders[e, i]] += seconds
    largest = 0.0
    for r in range(ranks):
        largest = max(largest, rank_s[r] + sync_s[r])
    return largest


@njit(cache=True, nogil=True, error_model="numpy")
def _migrate(
    q: NDArray[np.float64],
    work: NDArray[np.int32],
    pair_s: NDArray[np.float64],
    slowest: NDArray[np.float64],
    sync_bytes: float,
    count: NDArray[np.int64],
    rank_s: NDArray[np.float64],
    sync_s: NDArray[np.float64],
    holders: NDArray[np.int64],
    size: NDArray[np.int64],
) -> int:
    """Exchange a vExpert of the rank that synchronizes longest, if the layer gets faster."""
    ranks, slots = work.shape
    changed = 0
    for _ in range(ranks):
        now = _time(q, work, pair_s, slowest, sync_bytes, count, rank_s, sync_s, holders, size)
        full = 0
        for r in range(ranks):
            if sync_s[r] > sync_s[full]:
                full = r
        best, at, other, there = now * (1.0 - GAIN), -1, -1, -1
        for s in range(slots):
            x = work[full, s]
            if x < 0 or size[x] < 2:
                continue
            for i in range(size[x]):
                h = holders[x, i]
                if h == full:
                    continue
                for t in range(slots):
                    y = work[h, t]
                    if y == x:
                        continue
                    work[full, s], work[h, t] = y, x
                    after = _time(
                        q, work, pair_s, slowest, sync_bytes, count, rank_s, sync_s, holders, size
                    )
                    work[full, s], work[h, t] = x, y
                    if after < best:
                        best, at, other, there = after, s, h, t
            _time(q, work, pair_s, slowest, sync_bytes, count, rank_s, sync_s, holders, size)
        if at < 0:
            break
        x, y = work[full, at], work[other, there]
        work[full, at], work[other, there] = y, x
        changed += 1
    return changed
