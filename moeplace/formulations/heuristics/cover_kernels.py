"""Compiled inner loop of replication for dispatch ``cover``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numba import njit

if TYPE_CHECKING:
    from numpy.typing import NDArray


@njit(cache=True, nogil=True)
def saved_touches(
    ids: NDArray[np.int32], weight: NDArray[np.float64], holds: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Return (experts, ranks) the weight of tokens that a further copy would spare a rank.

    A copy of e on r spares a token one rank if e's replicas serve no other expert of the token
    and r holds one of the others. Complexity: O(tokens · top_k² · ranks).

    Parameters
    ----------
    ids, weight
        (tokens, top_k) experts with −1 pads, (tokens,) how often each set occurs.
    holds
        (experts, ranks) where replicas are.
    """
    experts, ranks = holds.shape
    saved = np.zeros((experts, ranks))
    for token in range(ids.shape[0]):
        for k in range(ids.shape[1]):
            e = ids[token, k]
            if e < 0:
                continue
            alone = True
            for other in range(ids.shape[1]):
                f = ids[token, other]
                if f >= 0 and other != k:
                    for r in range(ranks):
                        if holds[e, r] and holds[f, r]:
                            alone = False
            if not alone:
                continue
            for r in range(ranks):
                if not holds[e, r]:
                    for other in range(ids.shape[1]):
                        f = ids[token, other]
                        if f >= 0 and other != k and holds[f, r]:
                            saved[e, r] += weight[token]
                            break
    return saved
