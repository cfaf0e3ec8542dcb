from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

from moeplace.errors import InputError

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray


class ModelLike(Protocol):
    """The part of a ModelSpec that file formats need."""

    @property
    def num_layers(self) -> int:
        """Hidden layers, dense ones included."""

    @property
    def moe_layers(self) -> tuple[int, ...]:
        """Absolute ids of the MoE layers, ascending."""

    @property
    def num_experts(self) -> int:
        """Logical experts per MoE layer."""


@dataclass(frozen=True)
class ExportContext:
    """What a file does not say about the model it belongs to.

    Attributes
    ----------
    num_hidden_layers
        Hidden layers, dense ones included; 0 where the model is not known.
    moe_layers
        Absolute ids of the MoE layers.
    num_experts
        Logical experts per MoE layer.
    num_ranks
        Ranks of the expert-parallel group, where given.
    """

    num_hidden_layers: int
    moe_layers: tuple[int, ...]
    num_experts: int
    num_ranks: int | None = None

    def __post_init__(self) -> None:
        if self.num_ranks is not None and self.num_ranks < 1:
            raise InputError(f"num_ranks is {self.num_ranks}; it must be 1 or more")

    @classmethod
    def from_model(cls, model: ModelLike | None, num_ranks: int | None = None) -> ExportContext:
        """Take what is needed from a ModelSpec; without a model nothing is known but the ranks."""
        if model is None:
            return cls(0, (), 0, num_ranks)
        return cls(model.num_layers, tuple(model.moe_layers), model.num_experts, num_ranks)

    @property
    def known(self) -> bool:
        """Whether there is a model."""
        return self.num_hidden_layers > 0

    def layer_ids(self, rows: int, path: str | Path) -> tuple[int, ...] | None:
        """Return the absolute ids of `rows` MoE rows, None where no model is known.

        Raises
        ------
        InputError
            If the model has another number of MoE layers.
        """
        if not self.known:
            return None
        if rows != len(self.moe_layers):
            raise InputError(
                f"{path}: {rows} layers, but this model has {len(self.moe_layers)} MoE layers "
                "(this format leaves dense layers out); is it a map for another model?"
            )
        return self.moe_layers

    def experts(self, table: NDArray[np.int32], path: str | Path) -> int:
        """Return the number of experts: the model's, else the largest id in the table plus one.

        Raises
        ------
        InputError
            If no model is known and the ids have holes, so that the number would be a guess.
        """
        if self.known:
            return self.num_experts
        present = np.unique(table[table >= 0])
        if present.size == 0 or present[-1] != present.size - 1:
            raise InputError(
                f"{path}: the file does not tell how many experts there are; give the model"
            )
        return int(present.size)

    def equal_ranks(self, slots: int, path: str | Path) -> tuple[int, NDArray[np.int32]]:
        """Return the number of ranks and the (slots,) rank of each slot, equal slots a rank.

        Raises
        ------
        InputError
            If the number of ranks is not known or does not divide the slots.
        """
        if self.num_ranks is None:
            raise InputError(
                f"{path}: this format does not tell the number of ranks; give it "
                "(num_ranks, --ranks)"
            )
        if slots % self.num_ranks:
            raise InputError(
                f"{path}: {slots} slots a layer cannot be shared equally by {self.num_ranks} ranks"
            )
        ranks = np.arange(self.num_ranks, dtype=np.int32)
        return self.num_ranks, np.repeat(ranks, slots // self.num_ranks)

    def check_ranks(self, ranks: int, path: str | Path) -> None:
        """Refuse a file made for another number of ranks.

        Raises
        ------
        InputError
            If the number of ranks is known and differs.
        """
        if self.num_ranks is not None and ranks != self.num_ranks:
            raise InputError(f"{path}: made for {ranks} ranks, not for {self.num_ranks}")
