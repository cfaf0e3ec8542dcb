"""Sets of any length in compressed rows: what every form of token sets is read into."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from moeplace.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray

MOST_PINS = 65_535  # of a set: they are counted in 16 bits


@dataclass(frozen=True, eq=False)
class Nets:
    """Sets (nets, hyperedges) of experts (vertices, cells) of any lengths, in compressed rows.

    Attributes
    ----------
    start
        (sets + 1,) int64: set t is ``expert[start[t]:start[t + 1]]``.
    expert
        (pins,) int64 ids from 0.
    weight
        (sets,) float64 tokens of each set, ≥ 0.
    num_experts
        Experts; ids are below it.
    """

    start: NDArray[np.int64]
    expert: NDArray[np.int64]
    weight: NDArray[np.float64]
    num_experts: int

    @property
    def num_sets(self) -> int:
        """Sets."""
        return int(self.weight.size)

    @property
    def set_of_pin(self) -> NDArray[np.int64]:
        """(pins,) the set each entry of `expert` belongs to."""
        return np.repeat(np.arange(self.num_sets), np.diff(self.start))


def as_nets(
    token_sets: ArrayLike | Sequence[Sequence[int]] | Nets,
    weights: ArrayLike | None,
    num_experts: int,
) -> Nets:
    """Read and check token sets in any of the forms that :func:`moeplace.partition` takes.

    Raises
    ------
    InputError
        If shapes, types, ids or weights are not what they should be; it names the set.
    """
    if isinstance(token_sets, Nets):
        length, expert = np.diff(token_sets.start), token_sets.expert
        weights = token_sets.weight if weights is None else weights
        if length.size and (length.min() < 0 or length.sum() != expert.size):
            raise InputError("token_sets: start must ascend from 0 to the number of pins")
    else:
        length, expert = _flat(token_sets)
    weight = np.ones(length.size) if weights is None else _numbers(weights)
    if weight.shape != length.shape:
        raise InputError(f"weights: shape {weight.shape} for {length.size} token sets")
    if (wrong := np.flatnonzero(~(np.isfinite(weight) & (weight >= 0)))).size:
        raise InputError(
            f"weights: set {wrong[0]} weighs {weight[wrong[0]]}; weights must be finite and ≥ 0"
        )
    if not length.size:
        raise InputError("token_sets: no sets; give at least one")
    if length.max() > MOST_PINS:
        raise InputError(
            f"token_sets: set {length.argmax()} has {length.max()} ids; at most {MOST_PINS}"
        )
    start = np.zeros(length.size + 1, np.int64)
    np.cumsum(length, out=start[1:])
    nets = Nets(start, expert.astype(np.int64), weight, num_experts)
    if (wrong := np.flatnonzero((nets.expert < 0) | (nets.expert >= num_experts))).size:
        raise InputError(
            f"token_sets: set {nets.set_of_pin[wrong[0]]} names expert {expert[wrong[0]]}; "
            f"ids go from 0 to {num_experts - 1}, and −1 pads rows of an array"
        )
    return nets


def connectivity(
    token_sets: ArrayLike | Sequence[Sequence[int]] | Nets,
    weights: ArrayLike | None,
    rank_of_expert: ArrayLike,
) -> float:
    """Return Σ_t w_t · (ranks that token set t touches), counted afresh.

    Parameters
    ----------
    token_sets, weights
        As for :func:`moeplace.partition`.
    rank_of_expert
        (experts,) rank of each expert.
    """
    rank = np.asarray(rank_of_expert, np.int64)
    nets = as_nets(token_sets, weights, rank.size)
    ranks = int(rank.max(initial=0)) + 1
    touched = distinct(nets.set_of_pin * ranks + rank[nets.expert]) // ranks
    return float(nets.weight @ np.bincount(touched, minlength=nets.num_sets))


def distinct(key: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return what ``np.unique`` does; on a million keys its hash table takes 100 times longer."""
    key = np.sort(key)
    fresh = np.ones(key.size, np.bool_)
    fresh[1:] = key[1:] != key[:-1]
    return key[fresh]


def _flat(
    token_sets: ArrayLike | Sequence[Sequence[int]],
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the length of each set and the ids of all, without the −1 that pad."""
    if not isinstance(token_sets, np.ndarray):
        try:
            rows = [list(row) for row in token_sets]  # type: ignore[union-attr, arg-type]
        except TypeError:
            raise InputError(
                "token_sets: an array (sets, k), a list of lists of ids, or Nets expected"
            ) from None
        flat = [e for row in rows for e in row]
        length = np.array([len(row) for row in rows], np.int64)
        ids = np.array(flat) if flat else np.zeros(0, np.int64)
        if ids.ndim != 1 or ids.dtype.kind not in "iu":
            raise InputError(f"token_sets: ids are {ids.dtype}; integers expected")
        pad = np.repeat(np.arange(length.size), length)[ids == -1]
        return length - np.bincount(pad, minlength=length.size), ids[ids != -1]
    if token_sets.ndim != 2 or token_sets.dtype.kind not in "iu":
        raise InputError(
            f"token_sets: array of {token_sets.dtype} with shape {token_sets.shape}; "
            "integers (sets, k) expected"
        )
    ids = token_sets.astype(np.int64)
    return (ids != -1).sum(axis=1), ids[ids != -1]


def _numbers(weights: ArrayLike) -> NDArray[np.float64]:
    try:
        return np.asarray(weights, np.float64)
    except (TypeError, ValueError):
        raise InputError("weights: numbers expected, one a token set") from None
