from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from moeplace.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray


@dataclass(frozen=True, eq=False)
class Placement:
    """Which expert's weights lie in which slot, for every layer.

    Attributes
    ----------
    expert_of_slot
        (layers, slots) int32; the expert in each slot, −1 for an empty one.
    rank_of_slot
        (slots,) int32, nondecreasing; the rank that holds each slot.
    num_experts
        Logical experts per layer.
    num_ranks
        Devices in the expert-parallel group.
    layer_ids
        Absolute layer ids of the rows, or None where they are not known.
    """

    expert_of_slot: NDArray[np.int32]
    rank_of_slot: NDArray[np.int32]
    num_experts: int
    num_ranks: int
    layer_ids: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        experts = _frozen_int32(self.expert_of_slot, "expert_of_slot", 2)
        ranks = _frozen_int32(self.rank_of_slot, "rank_of_slot", 1)
        if experts.shape[1] != ranks.size:
            raise InputError(
                f"placement: expert_of_slot has {experts.shape[1]} slots a layer, "
                f"rank_of_slot has {ranks.size}; give one rank per slot"
            )
        if experts.size and (experts.min() < -1 or experts.max() >= self.num_experts):
            layer, slot = np.argwhere((experts < -1) | (experts >= self.num_experts))[0]
            raise InputError(
                f"placement: expert {experts[layer, slot]} in row {layer}, slot {slot} is out of "
                f"range; experts are 0..{self.num_experts - 1} and −1 marks an empty slot"
            )
        if ranks.size and (ranks.min() < 0 or ranks.max() >= self.num_ranks):
            raise InputError(f"placement: rank_of_slot must lie in 0..{self.num_ranks - 1}")
        if np.any(np.diff(ranks) < 0):
            raise InputError("placement: slots of one rank must be consecutive, ranks in order")
        if self.layer_ids is not None:
            ids = tuple(int(i) for i in self.layer_ids)
            if len(ids) != experts.shape[0]:
                raise InputError(
                    f"placement: {len(ids)} layer ids for {experts.shape[0]} rows; give one a row"
                )
            object.__setattr__(self, "layer_ids", ids)
        object.__setattr__(self, "expert_of_slot", experts)
        object.__setattr__(self, "rank_of_slot", ranks)

    @classmethod
    def from_rank_of_expert(
        cls,
        rank_of_expert: ArrayLike,
        *,
        num_ranks: int,
        layer_ids: Sequence[int] | None = None,
    ) -> Placement:
        """Build a placement without replicas from a (layers, experts) array of ranks.

        Every rank gets as many slots as the fullest rank of any layer needs.

        Raises
        ------
        InputError
            If a rank is outside 0..num_ranks−1.
        """
        rank = np.asarray(rank_of_expert)
        if rank.ndim != 2 or not np.issubdtype(rank.dtype, np.integer):
            raise InputError("rank_of_expert must be an integer array of shape (layers, experts)")
        if rank.size and (rank.min() < 0 or rank.max() >= num_ranks):
            raise InputError(f"rank_of_expert: ranks must lie in 0..{num_ranks - 1}")
        layers, experts = rank.shape
        counts = np.zeros((layers, num_ranks), np.int64)
        np.add.at(counts, (np.arange(layers)[:, None], rank), 1)
        width = int(counts.max(initial=1))
        order = np.argsort(rank, axis=1, kind="stable")
        sorted_rank = np.take_along_axis(rank, order, axis=1)
        start = np.cumsum(counts, axis=1) - counts
        within = np.arange(experts)[None, :] - np.take_along_axis(start, sorted_rank, axis=1)
        table = np.full((layers, num_ranks * width), -1, np.int32)
        np.put_along_axis(table, sorted_rank * width + within, order.astype(np.int32), axis=1)
        return cls(
            table,
            np.repeat(np.arange(num_ranks, dtype=np.int32), width),
            experts,
            num_ranks,
            None if layer_ids is None else tuple(layer_ids),
        )

    @property
    def num_layers(self) -> int:
        """Number of rows."""
        return int(self.expert_of_slot.shape[0])

    @property
    def num_slots(self) -> int:
        """Slots a layer, empty ones included."""
        return int(self.expert_of_slot.shape[1])

    @cached_property
    def slots_per_rank(self) -> NDArray[np.int64]:
        """(ranks,) slots on each rank, empty ones included."""
        return np.bincount(self.rank_of_slot, minlength=self.num_ranks)

    @cached_property
    def replicas_on_rank(self) -> NDArray[np.int32]:
        """(layers, experts, ranks) how many replicas of an expert a rank holds."""
        counts = np.zeros((self.num_layers, self.num_experts, self.num_ranks), np.int32)
        layer, slot = np.nonzero(self.expert_of_slot >= 0)
        np.add.at(counts, (layer, self.expert_of_slot[layer, slot], self.rank_of_slot[slot]), 1)
        counts.setflags(write=False)
        return counts

    @cached_property
    def replica_count(self) -> NDArray[np.int64]:
        """(layers, experts) replicas of each expert."""
        count: NDArray[np.int64] = self.replicas_on_rank.sum(axis=2, dtype=np.int64)
        return count

    def duplicates(self) -> NDArray[np.int64]:
        """Return (layers,) how many slots hold a second copy of an expert on the same rank."""
        second = np.maximum(self.replicas_on_rank - 1, 0)
        count: NDArray[np.int64] = second.sum(axis=(1, 2), dtype=np.int64)
        return count

    def canonical(self) -> Placement:
        """Return the same placement with the slots of every rank sorted, empty ones last."""
        table = self.expert_of_slot.copy()
        table[table < 0] = self.num_experts
        for rank in range(self.num_ranks):
            on_rank = np.flatnonzero(self.rank_of_slot == rank)
            table[:, on_rank] = np.sort(table[:, on_rank], axis=1)
        table[table == self.num_experts] = -1
        return self.replace(expert_of_slot=table)

    def replace(self, **changes: Any) -> Placement:
        """Return a copy with some attributes changed."""
        return replace(self, **changes)


def _frozen_int32(values: ArrayLike, name: str, ndim: int) -> NDArray[np.int32]:
    array = np.asarray(values)
    if array.ndim != ndim or not np.issubdtype(array.dtype, np.integer):
        raise InputError(f"placement: {name} must be an integer array with {ndim} dimension(s)")
    array = np.array(array, np.int32, order="C")
    array.setflags(write=False)
    return array
