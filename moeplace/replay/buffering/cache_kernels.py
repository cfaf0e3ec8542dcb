# mypy: disallow-untyped-decorators=False
"""Compiled: a cache of experts, one access after the other, and when every batch ends."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numba import njit

if TYPE_CHECKING:
    from numpy.typing import NDArray

FAR = 1e9  # puts one class of experts above another; more than accesses or batches of a run
MEMORY = 32.0  # batches over which the chance that an expert is used is estimated


@njit(cache=True, nogil=True)
def score(
    policy: int,
    local: float,
    size: int,
    active: int,
    done: bool,
    came: float,
    used: float,
    count: float,
    chance: float,
    batch: int,
    used_batch: int,
    following: float,
) -> float:
    """Return how much an expert should leave; see the policies for what the codes mean."""
    if policy == 0:
        return came + (0.0 if active else FAR)
    if policy == 1:
        return came
    if policy == 2:
        return -came
    if policy == 3:
        return -used
    if policy == 4:
        return -count * FAR - used
    if policy == 6:
        return FAR - came if used_batch < batch else used
    if policy == 7:
        return following
    if active and not done:
        return local
    if policy == 8:
        return FAR + 1.0 / max(chance, 1e-9) + local / size  # batches until the next use, expected
    return (FAR if active else 2 * FAR) - count  # 9


@njit(cache=True, nogil=True)
def run_cache(
    need: NDArray[np.uint8],
    order: NDArray[np.int64],
    capacity: int,
    policy: int,
    draws: NDArray[np.float64],
    hit: NDArray[np.int8],
    victim: NDArray[np.int32],
    counts: NDArray[np.int64],
) -> None:
    """Run all batches of one layer on one rank.

    Parameters
    ----------
    need
        (batches, local experts) uint8, 1 where the batch uses the expert.
    order
        (local experts,) the order in which experts run.
    capacity
        Experts that fit; the first ones of the order are there at the start.
    policy
        Code of the rule.
    draws
        (batches, local experts) numbers in [0, 1) for the random rule.
    hit
        (batches, local experts) int8, filled: −1 not needed, 1 was there, 0 fetched.
    victim
        (batches, local experts) int32, filled: who left for the expert, −1 for nobody.
    counts
        (2,) filled: accesses, misses.
    """
    batches, local = need.shape
    cached = np.zeros(local, np.uint8)
    came = np.zeros(local)
    used = np.zeros(local)
    count = np.zeros(local)
    chance = np.full(local, 0.5)
    used_batch = np.full(local, -1)
    following = np.full((batches, local), FAR)
    for e in range(local):  # when each expert is used next, after each batch
        later = FAR
        for b in range(batches - 1, -1, -1):
            following[b, e] = later
            if need[b, e]:
                later = float(b)
    position = np.zeros(local)
    for i in range(local):
        position[order[i]] = i
        if i < capacity:
            cached[order[i]] = 1
            came[order[i]] = i + 1.0 - local
    clock = 0.0
    accesses = misses = 0
    for b in range(batches):
        rate = max(1.0 / (b + 2.0), 1.0 / MEMORY)
        for e in range(local):
            chance[e] += rate * (float(need[b, e]) - chance[e])
        for i in range(local):
            e = order[i]
            hit[b, e] = -1
            victim[b, e] = -1
            if not need[b, e]:
                continue
            clock += 1.0
            accesses += 1
            if cached[e]:
                hit[b, e] = 1
            else:
                misses += 1
                hit[b, e] = 0
                inside = 0
                for f in range(local):
                    inside += cached[f]
                if inside >= capacity:
                    gone = -1
                    if policy == 5:
                        wanted = int(draws[b, e] * inside)
                        for f in range(local):
                            if cached[f]:
                                if wanted == 0:
                                    gone = f
                                    break
                                wanted -= 1
                    else:
                        best = -1e300
                        for f in range(local):
                            if not cached[f]:
                                continue
                            done = position[f] < i
                            # Next use in units of batches, then of positions in the batch.
                            if need[b, f] and not done:
                                turn = b + position[f] / local
                            else:
                                turn = following[b, f] + position[f] / local
                            found = score(
                                policy,
                                position[f],
                                local,
                                need[b, f],
                                done,
                                came[f],
                                used[f],
                                count[f],
                                chance[f],
                                b,
                                used_batch[f],
                                turn,
                            )
                            if found > best:
                                best = found
                                gone = f
                    cached[gone] = 0
                    victim[b, e] = gone
                cached[e] = 1
                came[e] = clock
            used[e] = clock
            used_batch[e] = b
            count[e] += 1.0
    counts[0] = accesses
    counts[1] = misses


@njit(cache=True, nogil=True)
def batch_ends(
    tokens: NDArray[np.int32],
    order: NDArray[np.int64],
    hit: NDArray[np.int8],
    victim: NDArray[np.int32],
    fetch_s: float,
    read_s: float,
    token_s: float,
    ready_s: float,
    ends: NDArray[np.float64],
    stalls: NDArray[np.float64],
) -> None:
    """Fill when each batch of one layer on one rank ends, seconds after its sizes are known.

    Fetches go over the host link one after the other, in the order of execution. One whose victim
    the batch still runs waits for it; the others start at once, during the dispatch. An expert
    runs when the dispatch is over, the expert before it has ended and its weights are there.

    Parameters
    ----------
    tokens
        (batches, local experts) tokens.
    order, hit, victim
        As of `run_cache`.
    fetch_s, read_s, token_s
        Seconds to fetch an expert from the host, to read it from the device's memory, and of one
        token.
    ready_s
        Seconds until the dispatch is over.
    ends, stalls
        (batches,) filled: end, and how much earlier it would be without fetches.
    """
    batches, local = tokens.shape
    finished = np.zeros(local)
    for b in range(batches):
        link = 0.0
        now = ready_s
        work = 0.0
        for e in range(local):
            finished[e] = 0.0
        for i in range(local):
            e = order[i]
            if hit[b, e] < 0:
                continue
            if hit[b, e] == 0:
                start = link
                gone = victim[b, e]
                if gone >= 0 and finished[gone] > start:
                    start = finished[gone]
                link = start + fetch_s
                if link > now:
                    now = link
            seconds = max(read_s, token_s * tokens[b, e])
            now += seconds
            work += seconds
            finished[e] = now
        ends[b] = now
        stalls[b] = max(now - ready_s - work, 0.0)
