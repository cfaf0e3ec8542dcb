"""The compiled choice of experts; import only from inside functions."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numba import njit

if TYPE_CHECKING:
    from numpy.typing import NDArray

LOWEST = -1e30


@njit(cache=True, nogil=True)
def choose(
    scores: NDArray[np.float32],
    top_k: int,
    n_group: int,
    topk_group: int,
    ids: NDArray[np.uint16],
) -> None:
    """Take the best experts of every token, in the best groups, best first.

    A group scores the sum of its two best (arXiv 2412.19437 §2.1.2; DeepSeek-V3's router).

    Parameters
    ----------
    scores
        (tokens, experts).
    top_k
        Experts a token.
    n_group, topk_group
        Expert groups, and how many of them a token may use.
    ids
        (tokens, top_k), filled.
    """
    experts = scores.shape[1]
    size = experts // n_group
    group_score = np.empty(n_group)
    open_group = np.empty(n_group, dtype=np.bool_)
    best = np.empty(top_k)
    for token in range(scores.shape[0]):
        if topk_group < n_group:
            for g in range(n_group):
                first, second = LOWEST, LOWEST
                for e in range(g * size, (g + 1) * size):
                    value = scores[token, e]
                    if value > first:
                        first, second = value, first
                    elif value > second:
                        second = value
                group_score[g] = first + second
                open_group[g] = False
            for _ in range(topk_group):
                place = 0
                top = 4 * LOWEST
                for g in range(n_group):
                    if not open_group[g] and group_score[g] > top:
                        top, place = group_score[g], g
                open_group[place] = True
        else:
            open_group[:] = True
        known = 0
        for g in range(n_group):
            if not open_group[g]:
                continue
            for e in range(g * size, (g + 1) * size):
                value = scores[token, e]
                if known == top_k and value <= best[top_k - 1]:
                    continue
                at = known if known < top_k else top_k - 1
                while at > 0 and best[at - 1] < value:
                    best[at] = best[at - 1]
                    ids[token, at] = ids[token, at - 1]
                    at -= 1
                best[at] = value
                ids[token, at] = e
                if known < top_k:
                    known += 1
