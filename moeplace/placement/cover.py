"""Dispatch ``cover``: every token on few ranks, and what is free to move evens out the load.

For each token

1. the ranks of its experts with a single replica are certain. An expert with replicas on several
   of these ranks may be served on any of them;
2. as long as experts are not served, the rank that holds most of them is taken. If it holds all
   of them, any rank that does will do: the token goes to one of these, with all of them. Of
   equals before the last step, the first at or after (sum of the token's experts) mod R is taken.

So the number of ranks is settled token by token, and what remains is a choice among sets of ranks
that are equally good. How the tokens of a choice are split over its ranks is settled for the layer
as a whole: such that the rank loads are as even as can be (least sum of squares, hence the
smallest maximum). A dispatcher needs one table of fractions by set of ranks.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from moeplace.traces import TokenSets

SWEEPS = 500
TOLERANCE = 1e-12  # of all pairs


@dataclass(frozen=True, eq=False)
class CoverUse:
    """What a layer does under ``cover``, per token.

    Attributes
    ----------
    slot_pairs
        (slots,) pairs that a slot serves.
    touches
        (sets,) chance that a destination set is touched.
    ranks_per_token
        λ.
    """

    slot_pairs: NDArray[np.float64]
    touches: NDArray[np.float64]
    ranks_per_token: float


def cover_use(
    sets: TokenSets,
    expert_of_slot: NDArray[np.int32],
    rank_of_slot: NDArray[np.int32],
    num_experts: int,
    members: NDArray[np.bool_],
) -> CoverUse:
    """Serve every token of a layer, see the module.

    Parameters
    ----------
    sets
        Tokens of the layer.
    expert_of_slot, rank_of_slot
        (slots,) one layer of a placement, −1 empty. Of an expert's slots on one rank the first
        serves.
    members
        (sets, ranks) destination sets.
    """
    from moeplace.placement.cover_kernels import add_up, serve_tokens

    num_sets, ranks = members.shape
    slot = np.flatnonzero(expert_of_slot >= 0)
    key = expert_of_slot[slot].astype(np.int64) * ranks + rank_of_slot[slot]
    held, first = np.unique(key, return_index=True)
    start = np.searchsorted(held, np.arange(num_experts + 1) * ranks)
    rank_of = held % ranks
    rank, number = np.nonzero(members.T)
    member_start = np.searchsorted(rank, np.arange(ranks + 1))
    ids = np.ascontiguousarray(sets.ids, np.int32)
    weight = np.asarray(sets.weight, float)
    served, last, base, choice_start, choice_rank, amount = serve_tokens(
        ids, weight, start, rank_of, ranks
    )
    share = even_shares(base, choice_start, choice_rank, amount)
    pairs, touches, distinct = add_up(
        ids, weight, served, last, start, rank_of, choice_start, choice_rank, share,
        member_start, number, num_sets,
    )  # fmt: skip
    slot_pairs = np.zeros(expert_of_slot.size)
    slot_pairs[slot[first]] = pairs
    return CoverUse(slot_pairs, touches, float(distinct))


def even_shares(
    base: NDArray[np.float64],
    choice_start: NDArray[np.int64],
    choice_rank: NDArray[np.int64],
    amount: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Return (entries of `choice_rank`,) the fractions that even out the rank loads most.

    Does not depend on the order of the choices.

    Parameters
    ----------
    base
        (ranks,) load that cannot be split.
    choice_start, choice_rank
        Compressed rows: ranks of each choice, ascending.
    amount
        (choices,) load to split over the ranks of each.
    """
    from moeplace.placement.cover_kernels import even_out

    sizes = np.diff(choice_start)
    rows = np.full((sizes.size, int(sizes.max(initial=0))), -1, np.int64)
    inside = np.arange(rows.shape[1]) < sizes[:, None]
    rows[inside] = choice_rank
    order = np.lexsort(rows.T[::-1]) if sizes.size else np.zeros(0, np.int64)
    entry = np.full(rows.shape, -1, np.int64)
    entry[inside] = np.arange(choice_rank.size)
    sorted_entry = entry[order][inside[order]]
    share = np.repeat(1 / np.maximum(sizes[order], 1), sizes[order])
    total = float(base.sum() + amount.sum())
    even_out(
        np.asarray(base, float),
        np.concatenate([[0], np.cumsum(sizes[order])]),
        choice_rank[sorted_entry],
        amount[order],
        share,
        SWEEPS,
        TOLERANCE * total,
    )
    shares = np.empty_like(share)
    shares[sorted_entry] = share
    return shares
