"""Compiled inner loops of the evaluation."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numba import njit

if TYPE_CHECKING:
    from numpy.typing import NDArray


@njit(cache=True, nogil=True)
def touch_probability(
    ids: NDArray[np.int32],
    weight: NDArray[np.float64],
    start: NDArray[np.int64],
    set_index: NDArray[np.int64],
    fraction: NDArray[np.float64],
    num_sets: int,
) -> NDArray[np.float64]:
    """Return (sets,) the chance that a token touches each destination set.

    For set D this is the weighted mean over tokens of 1 − Π_{e in token} (1 − f_e(D)), f_e(D)
    being the chance that expert e is served inside D (DESIGN §5, replica choice). Complexity:
    O(tokens · top_k · sets per expert).

    Parameters
    ----------
    ids
        (tokens, top_k) experts, −1 pads.
    weight
        (tokens,) how often each set occurs.
    start, set_index, fraction
        Compressed rows: expert e is served in ``set_index[start[e]:start[e + 1]]`` with chance
        `fraction`.
    num_sets
        Destination sets J.
    """
    missed = np.ones(num_sets)
    touched = np.empty(num_sets, np.int64)
    total = np.zeros(num_sets)
    weight_sum = 0.0
    for token in range(ids.shape[0]):
        count = 0
        for k in range(ids.shape[1]):
            expert = ids[token, k]
            if expert < 0:
                continue
            for entry in range(start[expert], start[expert + 1]):
                j = set_index[entry]
                if missed[j] == 1.0:
                    touched[count] = j
                    count += 1
                missed[j] *= 1.0 - fraction[entry]
        weight_sum += weight[token]
        for i in range(count):
            j = touched[i]
            total[j] += weight[token] * (1.0 - missed[j])
            missed[j] = 1.0
    if weight_sum > 0.0:
        total /= weight_sum
    return total
