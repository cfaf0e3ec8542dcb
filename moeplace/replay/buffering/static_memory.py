"""Weights on a rank when only some experts of a layer are resident (arXiv 2303.06182 §VI)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from moeplace.errors import InputError
from moeplace.models import DTYPE_BYTES

if TYPE_CHECKING:
    from collections.abc import Collection

    from moeplace.models import ModelSpec


@dataclass(frozen=True)
class StaticMemory:
    """Bytes of weights on a rank, all experts resident and with a cache."""

    full_bytes: float
    saved_bytes: float

    @property
    def saved_share(self) -> float:
        """What the cache saves of all weights."""
        return self.saved_bytes / self.full_bytes

    @property
    def ratio(self) -> float:
        """All resident over with a cache."""
        return self.full_bytes / (self.full_bytes - self.saved_bytes)


def static_memory(
    model: ModelSpec,
    ranks: int,
    capacity: int,
    dtype: str | None = None,
    layers: Collection[int] | None = None,
) -> StaticMemory:
    """Return the weights on a rank; what is no routed expert lies on every rank.

    Parameters
    ----------
    model
        What is served.
    ranks
        Ranks over which the experts are spread.
    capacity
        Experts of a layer that stay on a rank.
    dtype
        Of the weights; default: as served.
    layers
        MoE layers with a cache; default: all. The paper buffers the decoder's.

    Raises
    ------
    InputError
        If nothing stays, or a layer is no MoE layer.
    """
    if capacity < 1:
        raise InputError(f"a cache of {capacity} experts cannot run any; give at least 1")
    buffered = set(model.moe_layers if layers is None else layers)
    if unknown := sorted(buffered - set(model.moe_layers)):
        raise InputError(f"model {model.name}: layer {unknown[0]} is no MoE layer")
    local = -(-model.num_experts // ranks)
    expert = model.expert_bytes(dtype)
    rest = float(model.non_expert_params or 0.0) * DTYPE_BYTES[dtype or model.weight_dtype]
    return StaticMemory(
        full_bytes=local * model.num_moe_layers * expert + rest,
        saved_bytes=max(local - capacity, 0) * len(buffered) * expert,
    )
