"""Tokens of a step spread over ranks and slots, as the GPU programs need them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray


@dataclass(frozen=True)
class RankWork:
    """What one rank computes in a step.

    Attributes
    ----------
    token
        (rows,) tokens whose row arrives, one row a token.
    row_of_pair
        (pairs,) row of each (token, slot) pair, pairs in the order of the slots.
    counts
        (slots,) pairs of each slot.
    """

    token: NDArray[np.int64]
    row_of_pair: NDArray[np.int64]
    counts: NDArray[np.int64]


def cases(inputs: Any) -> Iterator[tuple[str, str, int, int, list[str]]]:
    """Yield (phase, layer, ranks, tokens per rank, placements) of the inputs."""
    found: dict[tuple[str, str, int, int], list[str]] = {}
    for key in inputs.files:
        parts = key.split(".")
        if len(parts) == 5:
            phase, layer, ranks, tokens, name = parts
            found.setdefault((phase, layer, int(ranks[1:]), int(tokens[1:])), []).append(name)
    for (phase, layer, ranks, tokens), names in found.items():
        yield phase, layer, ranks, tokens, names


def step_tokens(pool: NDArray[np.int16], count: int, seed: int) -> NDArray[np.int64]:
    """Return (count, top_k) tokens of a step, drawn from those of the trace."""
    rng = np.random.default_rng(seed)
    rows = rng.permutation(len(pool))
    if count > len(pool):
        rows = np.concatenate([rows, rng.integers(len(pool), size=count - len(pool))])
    return pool[rows[:count]].astype(np.int64)


def assign(
    ids: NDArray[np.int64], table: NDArray[np.int16]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return (tokens, top_k) rank and slot that serve each pair, replicas taken in turn.

    Parameters
    ----------
    ids
        (tokens, top_k) experts.
    table
        (ranks, slots) experts, −1 for empty.
    """
    rank, slot = np.nonzero(table >= 0)
    expert = table[rank, slot].astype(np.int64)
    order = np.argsort(expert, kind="stable")
    rank, slot, expert = rank[order], slot[order], expert[order]
    count = np.bincount(expert, minlength=int(ids.max()) + 1)
    start = np.concatenate([[0], np.cumsum(count)])
    flat = ids.ravel()
    by_expert = np.argsort(flat, kind="stable")
    first = np.searchsorted(flat[by_expert], np.arange(count.size))
    turn = np.empty(flat.size, np.int64)  # how many pairs of the expert came before
    turn[by_expert] = np.arange(flat.size) - first[flat[by_expert]]
    replica = start[flat] + turn % count[flat]
    return rank[replica].reshape(ids.shape), slot[replica].reshape(ids.shape)


def rank_work(
    rank_of_pair: NDArray[np.int64], slot_of_pair: NDArray[np.int64], rank: int, slots: int
) -> RankWork:
    """Return what `rank` computes."""
    token, position = np.nonzero(rank_of_pair == rank)
    slot = slot_of_pair[token, position]
    rows, row_of_token = np.unique(token, return_inverse=True)
    order = np.argsort(slot, kind="stable")
    return RankWork(rows, row_of_token[order], np.bincount(slot, minlength=slots))
