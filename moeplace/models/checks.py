"""What must hold for the figures of a model."""

from __future__ import annotations

from operator import index
from typing import TYPE_CHECKING

from moeplace.errors import InputError

if TYPE_CHECKING:
    from moeplace.models.spec import ModelSpec

# Bytes of one weight. Block scales are left out: FP8 with 128 × 128 blocks adds 0.02 %, the 4-bit
# formats with one 8-bit scale per 16 or 32 weights add 12.5 % or 6 %.
DTYPE_BYTES: dict[str, float] = {
    "bf16": 2.0,
    "fp16": 2.0,
    "fp8": 1.0,
    "int8": 1.0,
    "fp4": 0.5,
    "int4": 0.5,
}

_POSITIVE = ("num_layers", "num_experts", "top_k", "hidden_size", "moe_intermediate_size")
_NON_NEGATIVE = ("num_shared_experts", "shared_intermediate_size", "dense_intermediate_size")


def check_sizes(model: ModelSpec) -> None:
    """Raise InputError if a figure is out of range or does not fit the others."""
    where = f"model {model.name}"
    for key in (*_POSITIVE, *_NON_NEGATIVE, "n_group", "topk_group"):
        value = getattr(model, key)
        lowest = 0 if key in _NON_NEGATIVE else 1
        if isinstance(value, bool) or not isinstance(value, int) or value < lowest:
            raise InputError(f"{where}: {key} must be a whole number from {lowest}, got {value!r}")
    if model.latent_size is not None and model.latent_size < 1:
        raise InputError(f"{where}: latent_size must be positive, or left out")
    if model.matrices_per_expert not in (2, 3):
        raise InputError(f"{where}: matrices_per_expert must be 2 or 3")
    if model.top_k > model.num_experts:
        raise InputError(f"{where}: top_k {model.top_k} exceeds num_experts {model.num_experts}")
    if model.num_experts % model.n_group:
        raise InputError(
            f"{where}: num_experts {model.num_experts} is not divisible by n_group {model.n_group}"
        )
    if model.topk_group > model.n_group:
        raise InputError(f"{where}: topk_group {model.topk_group} exceeds n_group {model.n_group}")
    if model.top_k > model.topk_group * (model.num_experts // model.n_group):
        raise InputError(f"{where}: top_k {model.top_k} does not fit in {model.topk_group} groups")
    if bool(model.num_shared_experts) != bool(model.shared_intermediate_size):
        raise InputError(
            f"{where}: num_shared_experts {model.num_shared_experts} and shared_intermediate_size "
            f"{model.shared_intermediate_size} must both be zero or both be positive"
        )
    if model.weight_dtype not in DTYPE_BYTES:
        raise InputError(
            f"{where}: weight_dtype {model.weight_dtype!r} is not known; "
            f"known: {', '.join(DTYPE_BYTES)}"
        )


def layer_tuple(model: ModelSpec, key: str) -> tuple[int, ...]:
    """Return the layer ids under `key` as plain integers; InputError if they are none."""
    try:
        return tuple(index(layer) for layer in getattr(model, key))
    except TypeError as error:
        raise InputError(
            f"model {model.name}: {key} must be a list of layer ids, got {getattr(model, key)!r}"
        ) from error


def check_layers(model: ModelSpec) -> None:
    """Raise InputError if layer ids are out of order or outside the model."""
    for key in ("moe_layers", "hash_routed_layers"):
        layers: tuple[int, ...] = getattr(model, key)
        if list(layers) != sorted(set(layers)):
            raise InputError(f"model {model.name}: {key} must ascend without repeats")
        if layers and not 0 <= layers[0] <= layers[-1] < model.num_layers:
            raise InputError(
                f"model {model.name}: {key} {layers[0]}..{layers[-1]} lie outside the layers "
                f"0..{model.num_layers - 1}"
            )
    if not model.moe_layers:
        raise InputError(f"model {model.name}: not a MoE model: moe_layers is empty")
    if not set(model.hash_routed_layers) <= set(model.moe_layers):
        raise InputError(f"model {model.name}: hash_routed_layers must be among moe_layers")


def check_params(model: ModelSpec) -> None:
    """Raise InputError if the whole model is smaller than its routed experts."""
    if model.total_params is not None and model.total_params < model.routed_params:
        raise InputError(
            f"model {model.name}: total_params {model.total_params:.4g} is less than the "
            f"{model.routed_params:.4g} of the routed experts alone"
        )
