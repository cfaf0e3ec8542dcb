"""Which layers have routed experts, from the many ways a Hugging Face config says so."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from moeplace.errors import InputError
from moeplace.models.hf_values import text_value, whole

_Rule = Callable[[Mapping[str, Any], int], "set[int] | None"]


def moe_layer_ids(config: Mapping[str, Any], num_layers: int) -> tuple[int, ...]:
    """Return the absolute ids of the layers with routed experts, ascending.

    Every rule whose keys are in the config can only take layers away, so the result is what all
    of them allow; a config without any such key has experts in every layer. Entries beyond the
    last layer belong to multi-token prediction and are dropped.

    Parameters
    ----------
    config
        The part of the config that describes the language model.
    num_layers
        Its number of layers.

    Raises
    ------
    InputError
        If a key has a form that is not known.
    """
    layers = set(range(num_layers))
    for rule in _RULES:
        allowed = rule(config, num_layers)
        if allowed is not None:
            layers &= allowed
    return tuple(sorted(layers))


def has_dense_layers(config: Mapping[str, Any], num_layers: int, num_moe_layers: int) -> bool:
    """Tell whether some layer has a dense feed-forward block instead of experts.

    In hybrid models a layer may also be attention or a state-space block alone.
    """
    pattern = block_pattern(config)
    if pattern is None:
        return num_moe_layers < num_layers
    return any(block in ("-", "mlp") for block in pattern)


def block_pattern(config: Mapping[str, Any]) -> Sequence[str] | None:
    """Return the kind of every block of a hybrid model, or None for a plain one."""
    pattern = config.get("hybrid_override_pattern")
    if isinstance(pattern, str):
        return pattern.split("/")[0]  # what follows a slash is multi-token prediction
    blocks = config.get("layers_block_type")
    if isinstance(blocks, list) and "moe" in blocks:
        return blocks
    return None


def hash_layer_ids(config: Mapping[str, Any], moe_layers: tuple[int, ...]) -> tuple[int, ...]:
    """Return the MoE layers in which the token id alone decides the experts."""
    kinds = config.get("mlp_layer_types")
    if isinstance(kinds, list) and "hash_moe" in kinds:
        return tuple(i for i in moe_layers if kinds[i] == "hash_moe")
    count = whole(config, "num_hash_layers") or 0
    return tuple(i for i in moe_layers if i < count)


def _listed(config: Mapping[str, Any], num_layers: int) -> set[int] | None:
    found: set[int] | None = None
    for key in ("moe_layers", "moe_layers_enum"):
        value = config.get(key)
        if not value:
            continue
        pieces = value.split(",") if isinstance(value, str) else value
        try:
            layers = {int(piece) for piece in pieces}
        except (TypeError, ValueError) as error:
            raise InputError(f"{key}: expected a list of layer ids, got {value!r}") from error
        found = layers if found is None else found & layers
    return found


def _flagged(config: Mapping[str, Any], num_layers: int) -> set[int] | None:
    found: set[int] | None = None
    for key in ("moe_layer_freq", "is_moe_layer", "mlp_layer_types"):
        flags = config.get(key)
        if not isinstance(flags, list):
            continue
        if len(flags) < num_layers:
            raise InputError(f"{key}: has {len(flags)} entries for {num_layers} layers")
        layers = {i for i, flag in enumerate(flags) if flag not in (0, "dense")}
        found = layers if found is None else found & layers
    return found


def _hybrid(config: Mapping[str, Any], num_layers: int) -> set[int] | None:
    pattern = block_pattern(config)
    if pattern is None:
        return None
    if len(pattern) < num_layers:
        raise InputError(
            f"hybrid_override_pattern: has {len(pattern)} blocks for {num_layers} layers"
        )
    return {i for i, block in enumerate(pattern) if block in ("E", "moe")}


def _after_dense(config: Mapping[str, Any], num_layers: int) -> set[int] | None:
    first = max(whole(config, key) or 0 for key in ("first_k_dense_replace", _SKIPPED))
    return set(range(first, num_layers))


def _every(config: Mapping[str, Any], num_layers: int) -> set[int] | None:
    if isinstance(config.get("moe_layer_freq"), list):
        return None
    step = whole(config, "moe_layer_freq")
    return None if step is None else set(range(0, num_layers, _positive("moe_layer_freq", step)))


def _ending_steps(config: Mapping[str, Any], num_layers: int) -> set[int] | None:
    """Experts in the last layer of every group of `step` layers (Qwen, Llama 4)."""
    layers = set(range(num_layers))
    for key in ("decoder_sparse_step", "interleave_moe_layer_step"):
        step = whole(config, key)
        if step is not None:
            layers &= set(range(_positive(key, step) - 1, num_layers, step))
    dense = config.get("mlp_only_layers") or []
    if not isinstance(dense, list):
        raise InputError(f"mlp_only_layers: expected a list of layer ids, got {dense!r}")
    return layers - set(dense)


def _between(config: Mapping[str, Any], num_layers: int) -> set[int] | None:
    """Experts from a first to a last layer, every `interval`-th (ERNIE)."""
    first = text_value(config, "moe_layer_start_index") or 0
    last = text_value(config, "moe_layer_end_index")
    if last is None or last < 0:
        last = num_layers - 1
    interval = _positive("moe_layer_interval", whole(config, "moe_layer_interval") or 1)
    return {i for i in range(first, last + 1) if (i + 1) % interval == 0}


def _periodic(config: Mapping[str, Any], num_layers: int) -> set[int] | None:
    """Experts once a period, from an offset on (Jamba)."""
    period = whole(config, "expert_layer_period")
    if period is None:
        return None
    offset = whole(config, "expert_layer_offset") or 0
    return set(range(offset, num_layers, _positive("expert_layer_period", period)))


def _positive(key: str, value: int) -> int:
    if value < 1:
        raise InputError(f"{key}: must be positive, got {value}")
    return value


_SKIPPED = "moe_layer_num_skipped"
_RULES: tuple[_Rule, ...] = (
    _listed,
    _flagged,
    _hybrid,
    _after_dense,
    _every,
    _ending_steps,
    _between,
    _periodic,
)
