"""Counting of successive experts, and Algorithm 1 of arXiv 2510.05497."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numba import njit

if TYPE_CHECKING:
    from numpy.typing import NDArray


@njit(cache=True, nogil=True)
def count_pairs(
    before: NDArray[np.int64], now: NDArray[np.int64], pairs: NDArray[np.int64]
) -> None:
    """Add, for every row, all pairs of an expert before and one now; absent ids are left out."""
    experts = pairs.shape[0]
    for row in range(before.shape[0]):
        for i in range(before.shape[1]):
            for j in range(now.shape[1]):
                a, b = before[row, i], now[row, j]
                if a < experts and b < experts:
                    pairs[a, b] += 1


@njit(cache=True, nogil=True)
def allocate_greedily(
    counts: NDArray[np.int64],
    present: NDArray[np.bool_],
    nearest: NDArray[np.int64],
    hops: NDArray[np.int64],
    expert_compute_s: NDArray[np.float64],
    hbm_s: float,
    link_s: float,
    hop_s: float,
    block: int,
    min_candidates: int,
    split_requests: float,
    given: NDArray[np.int64],
) -> None:
    """Hand out the requests of every expert, fewest requests first, in blocks.

    Candidates are the dies that hold the expert and their neighbors; the least loaded ones are
    kept, at least `min_candidates`, one more for every `split_requests` requests. A block goes to
    the candidate whose time with it is least. The paper names the terms of a die's time (HBM,
    compute, die-to-die) but its formula could not be read: here HBM and compute overlap, and what
    comes from another die is added, ``max(hbm, compute) + d2d``; a block that has to fetch costs
    the larger of its die's time and that of the die it reads from.

    Parameters
    ----------
    counts
        (experts,) requests.
    present
        (experts, dies) who holds what.
    nearest
        (experts, dies) the holder that a die would read from.
    hops
        (dies, dies) links.
    expert_compute_s
        (tokens + 1,) seconds of a whole expert.
    hbm_s, link_s, hop_s
        Seconds an expert holds an HBM and a link, and of a hop.
    block, min_candidates, split_requests
        Of the algorithm.
    given
        (experts, dies) out: requests, zeros before.
    """
    num_dies = present.shape[1]
    hbm = np.zeros(num_dies)
    compute = np.zeros(num_dies)
    moved = np.zeros(num_dies)
    load = np.zeros(num_dies)
    chosen = np.zeros(num_dies, np.int64)
    taken = np.zeros(num_dies, np.bool_)
    order = np.argsort(counts, kind="mergesort")
    for e in order:
        left = counts[e]
        if left == 0:
            continue
        wanted = max(min_candidates, int(left / split_requests))
        for d in range(num_dies):
            taken[d] = hops[d, nearest[e, d]] > 1
            load[d] = max(hbm[d], compute[d]) + moved[d]
        size = 0
        while size < wanted:
            best = -1
            for d in range(num_dies):
                if not taken[d] and (
                    best < 0
                    or load[d] < load[best]
                    or (load[d] == load[best] and present[e, d] and not present[e, best])
                ):
                    best = d
            if best < 0:
                break
            taken[best] = True
            chosen[size] = best
            size += 1
        while left > 0:
            part = min(block, left)
            best = -1
            least = 0.0
            for i in range(size):
                d = chosen[i]
                has = given[e, d]
                spent = compute[d] + expert_compute_s[has + part] - expert_compute_s[has]
                read, link = hbm[d], moved[d]
                if has == 0:
                    if present[e, d]:
                        read += hbm_s
                    else:
                        link += hbm_s + link_s + hop_s * 2 * hops[d, nearest[e, d]]
                time = max(read, spent) + link
                if has == 0 and not present[e, d]:
                    s = nearest[e, d]
                    time = max(time, max(hbm[s] + hbm_s, compute[s]) + moved[s])
                if best < 0 or time < least or (time == least and present[e, d]):
                    best, least = d, time
            has = given[e, best]
            if has == 0:
                hbm[nearest[e, best]] += hbm_s
                if not present[e, best]:
                    moved[best] += link_s + hop_s * 2 * hops[best, nearest[e, best]]
            compute[best] += expert_compute_s[has + part] - expert_compute_s[has]
            given[e, best] += part
            left -= part
