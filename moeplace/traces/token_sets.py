"""Weighted unique expert sets of a layer: everything the tokens say, without their order."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from moeplace.errors import InputError
from moeplace.traces.arrays import frozen

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class TokenSets:
    """The expert sets of one layer and how many tokens have each; arrays are read-only.

    Attributes
    ----------
    ids
        (sets, top_k) int32, experts of a set, −1 pads shorter sets.
    weight
        (sets,) float64 > 0, tokens that have the set (counts, or fractional weights).
    """

    ids: NDArray[np.int32]
    weight: NDArray[np.float64]

    def __post_init__(self) -> None:
        ids, weight = frozen(self.ids, np.int32), frozen(self.weight, np.float64)
        if ids.ndim != 2 or weight.shape != ids.shape[:1]:
            raise InputError(
                f"token sets: ids {ids.shape} and weight {weight.shape} do not fit; "
                "(sets, top_k) and (sets,) expected"
            )
        if weight.size and not (np.isfinite(weight).all() and weight.min() > 0):
            row = int(np.flatnonzero(~(np.isfinite(weight) & (weight > 0)))[0])
            raise InputError(f"token sets: set {row} weighs {weight[row]}; weights must be > 0")
        if ids.size and (ids.min() < -1 or (ids.max(axis=1) < 0).any()):
            raise InputError("token sets: ids must be ≥ 0, −1 pads, and no set may be empty")
        object.__setattr__(self, "ids", ids)
        object.__setattr__(self, "weight", weight)

    @property
    def num_sets(self) -> int:
        """Unique sets."""
        return int(self.ids.shape[0])

    @property
    def top_k(self) -> int:
        """Experts in a full set."""
        return int(self.ids.shape[1])

    @property
    def total_weight(self) -> float:
        """Sum of the weights: the tokens that the sets stand for."""
        return float(self.weight.sum())

    def load(self, num_experts: int) -> NDArray[np.float64]:
        """Return the (experts,) tokens routed to every expert.

        Parameters
        ----------
        num_experts
            Logical experts in the layer.
        """
        total: NDArray[np.float64] = np.bincount(
            self.ids.ravel() + 1,
            weights=np.repeat(self.weight, self.top_k),
            minlength=num_experts + 1,
        ).astype(np.float64)
        return total[1:]

    def coactivation(self, num_experts: int) -> NDArray[np.float64]:
        """Return (experts, experts) tokens that use both experts; symmetric, zero diagonal.

        Parameters
        ----------
        num_experts
            Logical experts in the layer.
        """
        side = num_experts + 1
        counts = np.zeros(side * side)
        columns = (self.ids.T + 1).astype(np.int64)
        for first in range(self.top_k):
            for second in range(first + 1, self.top_k):
                counts += np.bincount(
                    columns[first] * side + columns[second],
                    weights=self.weight,
                    minlength=side * side,
                )
        pairs = counts.reshape(side, side)[1:, 1:]
        total: NDArray[np.float64] = pairs + pairs.T
        return total


def unique_token_sets(rows: NDArray[Any], missing: int, num_experts: int) -> TokenSets:
    """Count the distinct expert sets of one layer.

    Parameters
    ----------
    rows
        (tokens, top_k) expert ids, unsigned, in any order inside a token.
    missing
        The value that marks an absent id, above every expert; −1 if nothing is absent.
    num_experts
        Logical experts in the layer.

    Returns
    -------
    TokenSets
        Ids ascending in a set, pads last, sets in ascending order; tokens without any expert in
        this layer are left out.
    """
    ordered = np.sort(rows, axis=1)
    if missing >= 0:
        ordered = ordered[ordered[:, 0] != missing]
    first, counts = distinct_rows(packed_keys(ordered, num_experts))
    ids = ordered[first].astype(np.int32)
    if missing >= 0:
        ids[ordered[first] == missing] = -1
    return TokenSets(ids, counts.astype(np.float64))


def distinct_rows(keys: list[NDArray[np.uint64]]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return where each distinct combination of keys stands first, and how often it occurs.

    Parameters
    ----------
    keys
        (rows,) each, the most significant last; combinations come in ascending order.
    """
    if len(keys) == 1:
        _, first, counts = np.unique(keys[0], return_index=True, return_counts=True)
        return first, counts
    order = np.lexsort(keys)
    fresh = np.zeros(order.size, dtype=bool)
    fresh[:1] = True
    for key in keys:
        sorted_key = key[order]
        fresh[1:] |= sorted_key[1:] != sorted_key[:-1]
    starts = np.flatnonzero(fresh)
    return order[starts], np.diff(starts, append=order.size)


def packed_keys(ordered: NDArray[Any], num_experts: int) -> list[NDArray[np.uint64]]:
    """Pack each row into as few 64-bit keys as hold it, the most significant last.

    Parameters
    ----------
    ordered
        (rows, top_k) ids, ascending in a row.
    num_experts
        Logical experts in the layer.
    """
    bits = int(num_experts).bit_length()
    per_key = max(64 // bits, 1)
    mask = (1 << bits) - 1
    keys = []
    for start in range(0, ordered.shape[1], per_key):
        key = np.zeros(ordered.shape[0], dtype=np.uint64)
        for column in ordered[:, start : start + per_key].T:
            key = (key << np.uint64(bits)) | (column.astype(np.uint64) & np.uint64(mask))
        keys.append(key)
    return keys[::-1]
