"""Compiled counting of pairs of experts; import only from inside functions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numba import njit

if TYPE_CHECKING:
    from numpy.typing import NDArray


@njit(cache=True, nogil=True)
def count_pairs(
    ids: NDArray[Any], layer: int, table: NDArray[np.uint32], load: NDArray[np.int64]
) -> None:
    """Add the pairs of one layer: `table[e, f]` for every e before f in a token's row.

    Parameters
    ----------
    ids
        (tokens, layers, top_k) unsigned expert ids; ids ≥ the side of `table` are absent.
    layer
        Which row of layers.
    table
        (experts, experts) counts, added to; add its transpose for a symmetric table.
    load
        (experts,) counts, added to.
    """
    experts = np.uint64(table.shape[0])
    tokens, top_k = ids.shape[0], ids.shape[2]
    flat = table.reshape(-1)
    row = np.empty(top_k, dtype=np.uint64)
    for token in range(tokens):
        known = 0
        for choice in range(top_k):
            expert = np.uint64(ids[token, layer, choice])
            if expert < experts:
                row[known] = expert
                load[expert] += 1
                known += 1
        for first in range(known):
            start = row[first] * experts
            for second in range(first + 1, known):
                flat[start + row[second]] += np.uint32(1)


@njit(cache=True, nogil=True)
def count_between(
    before: NDArray[Any],
    after: NDArray[Any],
    table: NDArray[np.uint32],
) -> None:
    """Add the pairs between two selections: `table[e, f]` for e in `before`, f in `after`.

    Parameters
    ----------
    before, after
        (rows, top_k) unsigned expert ids of the same rows; ids ≥ the side of `table` are absent.
    table
        (experts, experts) counts, added to.
    """
    experts = np.uint64(table.shape[0])
    flat = table.reshape(-1)
    for row in range(before.shape[0]):
        for first in range(before.shape[1]):
            expert = np.uint64(before[row, first])
            if expert < experts:
                start = expert * experts
                for second in range(after.shape[1]):
                    other = np.uint64(after[row, second])
                    if other < experts:
                        flat[start + other] += np.uint32(1)


@njit(cache=True, nogil=True)
def count_loads(ids: NDArray[Any], groups: NDArray[np.int64], table: NDArray[np.int64]) -> None:
    """Add the loads of tokens to the table of their group.

    Parameters
    ----------
    ids
        (tokens, layers, top_k) unsigned expert ids; ids ≥ experts are absent.
    groups
        (tokens,) which table a token counts in.
    table
        (groups, layers, experts) counts, added to.
    """
    experts = table.shape[2]
    for token in range(ids.shape[0]):
        group = groups[token]
        for layer in range(ids.shape[1]):
            for choice in range(ids.shape[2]):
                expert = np.int64(ids[token, layer, choice])
                if expert < experts:
                    table[group, layer, expert] += 1
