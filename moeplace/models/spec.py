"""What is placed: the shape of one Mixture-of-Experts model."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from moeplace.errors import InputError
from moeplace.models.checks import DTYPE_BYTES, check_layers, check_params, check_sizes, layer_tuple


@dataclass(frozen=True)
class ModelSpec:
    """The figures of a Mixture-of-Experts model that placement needs.

    Layer ids are absolute (the layer's index in the whole model), so a model whose first layers
    are dense has MoE layers that do not start at 0. Layers of multi-token prediction are left out.

    Attributes
    ----------
    name
        Catalogue name, or the name of the file it was read from.
    num_layers
        All layers, dense ones included.
    moe_layers
        Absolute ids of the layers with routed experts, ascending.
    num_experts
        Routed experts per MoE layer.
    top_k
        Routed experts per token.
    hidden_size
        Width of the residual stream.
    moe_intermediate_size
        Inner width of one routed expert.
    n_group, topk_group
        Expert groups, and how many of them one token may use; 1 and 1 without group limits.
    num_shared_experts
        Experts that every token uses.
    shared_intermediate_size
        Inner width of all shared experts together.
    dense_intermediate_size
        Inner width of the feed-forward block in layers without experts, 0 where there is none.
    latent_size
        Width that is dispatched where it is not `hidden_size` (latent MoE), else None.
    matrices_per_expert
        3 for gated experts (gate, up, down), 2 for plain ones (up, down).
    total_params, active_params
        Published parameter counts, of the whole model and per token, or None.
    weight_dtype
        Type of the expert weights as served, a key of `DTYPE_BYTES`.
    router
        Keyword for the router, for example ``"softmax"`` or ``"sigmoid-noaux"``.
    hash_routed_layers
        Absolute ids of MoE layers in which the token id alone decides the experts.
    architecture
        Hugging Face class, where known.
    source
        Where the figures come from.
    """

    name: str
    num_layers: int
    moe_layers: tuple[int, ...]
    num_experts: int
    top_k: int
    hidden_size: int
    moe_intermediate_size: int
    n_group: int = 1
    topk_group: int = 1
    num_shared_experts: int = 0
    shared_intermediate_size: int = 0
    dense_intermediate_size: int = 0
    latent_size: int | None = None
    matrices_per_expert: int = 3
    total_params: float | None = None
    active_params: float | None = None
    weight_dtype: str = "bf16"
    router: str = ""
    hash_routed_layers: tuple[int, ...] = ()
    architecture: str = ""
    source: str = ""

    def __post_init__(self) -> None:
        for key in ("moe_layers", "hash_routed_layers"):
            object.__setattr__(self, key, layer_tuple(self, key))
        check_sizes(self)
        check_layers(self)
        check_params(self)

    @property
    def num_moe_layers(self) -> int:
        """Layers with routed experts."""
        return len(self.moe_layers)

    @property
    def payload_size(self) -> int:
        """Values per token that dispatch sends to an expert: the latent or the hidden width."""
        return self.latent_size or self.hidden_size

    @property
    def expert_params(self) -> int:
        """Parameters of one routed expert in one layer."""
        return self.matrices_per_expert * self.payload_size * self.moe_intermediate_size

    @property
    def routed_params(self) -> int:
        """Parameters of all routed experts in all layers."""
        return self.num_moe_layers * self.num_experts * self.expert_params

    @property
    def non_expert_params(self) -> float | None:
        """Parameters outside the routed experts, or None where the total is not known."""
        return None if self.total_params is None else self.total_params - self.routed_params

    def expert_bytes(self, dtype: str | None = None) -> float:
        """Return the bytes of one routed expert's weights in one layer.

        Parameters
        ----------
        dtype
            A key of `DTYPE_BYTES`; None takes the type the model is served in.

        Raises
        ------
        InputError
            If `dtype` is not known.
        """
        dtype = self.weight_dtype if dtype is None else dtype
        if dtype not in DTYPE_BYTES:
            raise InputError(f"unknown weight type {dtype!r}; known: {', '.join(DTYPE_BYTES)}")
        return self.expert_params * DTYPE_BYTES[dtype]

    def replace(self, **changes: Any) -> ModelSpec:
        """Return a copy with some fields changed.

        The published parameter counts follow the routed experts, so that what lies outside them
        stays the same; give `total_params` and `active_params` to set them instead.

        Raises
        ------
        InputError
            If a field does not exist or the changed model is not consistent.
        """
        known = [field.name for field in dataclasses.fields(self)]
        for key in changes:
            if key not in known:
                raise InputError(f"model {self.name}: no field {key!r}; fields: {', '.join(known)}")
        follow: dict[str, Any] = {"total_params": None, "active_params": None}
        changed = dataclasses.replace(self, **{**follow, **changes})
        if self.total_params is not None:
            follow["total_params"] = self.total_params + changed.routed_params - self.routed_params
        if self.active_params is not None:
            follow["active_params"] = self.active_params + _routed_active(changed)
            follow["active_params"] -= _routed_active(self)
        return dataclasses.replace(self, **{**follow, **changes})


def _routed_active(model: ModelSpec) -> int:
    return model.num_moe_layers * model.top_k * model.expert_params
