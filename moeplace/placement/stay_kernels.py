"""Compiled inner loop of scoring ``stay`` execution."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numba import njit

if TYPE_CHECKING:
    from numpy.typing import NDArray


@njit(cache=True, nogil=True)
def stay_touches(
    ids: NDArray[np.int32],
    before: NDArray[np.int32],
    anchor: NDArray[np.int32],
    weight: NDArray[np.float64],
    set_start: NDArray[np.int64],
    set_index: NDArray[np.int64],
    set_fraction: NDArray[np.float64],
    inside_before: NDArray[np.float64],
    inside: NDArray[np.float64],
    merged: bool,
    num_sets: int,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return (ranks, sets) copies per token by where they start, and by where results go.

    A token starts on a rank with the chance that the rank served its anchor of the layer before,
    or on each with the same chance where it has none. Its experts are then served independently.
    Results go to the rank that serves the anchor, from everyone but the anchor itself. Complexity:
    O(rows · (top_k · sets per expert + ranks)).

    Parameters
    ----------
    ids, before, anchor, weight
        (rows, top_k) and (rows,) of :class:`~moeplace.traces.AnchoredSets`.
    set_start, set_index, set_fraction
        Compressed rows: expert e is served in ``set_index[set_start[e]:set_start[e + 1]]`` with
        chance `set_fraction`.
    inside_before, inside
        (experts, ranks) chance that a rank serves an expert in the layer before and in this one.
    merged
        Whether a set gets one copy of a token, or one for each expert served in it.
    num_sets
        Destination sets J.
    """
    ranks = inside.shape[1]
    out = np.zeros((ranks, num_sets))
    home = np.zeros(num_sets)
    back = np.zeros((ranks, num_sets))
    missed = np.ones(num_sets)  # by everyone but the anchor
    missed_too = np.ones(num_sets)  # by the anchor
    count = np.zeros(num_sets)
    seen = np.zeros(num_sets, np.bool_)
    touched = np.empty(num_sets, np.int64)
    total = 0.0
    for row in range(ids.shape[0]):
        w = weight[row]
        total += w
        found = 0
        for k in range(ids.shape[1]):
            e = ids[row, k]
            if e < 0:
                continue
            for entry in range(set_start[e], set_start[e + 1]):
                j = set_index[entry]
                f = set_fraction[entry]
                if not seen[j]:
                    seen[j] = True
                    touched[found] = j
                    found += 1
                if e == anchor[row]:
                    missed_too[j] *= 1.0 - f
                else:
                    missed[j] *= 1.0 - f
                    count[j] += f
        for i in range(found):
            j = touched[i]
            others = 1.0 - missed[j]
            everyone = 1.0 - missed[j] * missed_too[j]
            if not merged:
                others = count[j]
                everyone = count[j] + 1.0 - missed_too[j]
            if before[row] < 0:
                home[j] += w * everyone
            for r in range(ranks):
                if before[row] >= 0:
                    out[r, j] += w * inside_before[before[row], r] * everyone
                back[r, j] += w * inside[anchor[row], r] * others
            missed[j] = 1.0
            missed_too[j] = 1.0
            count[j] = 0.0
            seen[j] = False
    for r in range(ranks):
        for j in range(num_sets):
            out[r, j] += home[j] / ranks
            if total > 0.0:
                out[r, j] /= total
                back[r, j] /= total
    return out, back
