"""Reading a Hugging Face ``config.json``: every family names the same figures differently."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from moeplace.errors import InputError
from moeplace.models.hf_dtype import weight_dtype
from moeplace.models.hf_families import Family, family_of, router_of
from moeplace.models.hf_layers import (
    block_pattern,
    has_dense_layers,
    hash_layer_ids,
    moe_layer_ids,
)
from moeplace.models.hf_values import first_key, first_whole, text_value
from moeplace.models.spec import ModelSpec

_NESTED = ("text_config", "llm_config", "language_config", "thinker_config")
_EXPERTS = ("n_routed_experts", "num_experts", "num_local_experts", "moe_num_experts")
_TOP_K = (
    "num_experts_per_tok",
    "num_experts_per_token",
    "moe_topk",
    "moe_k",
    "moe_top_k",
    "experts_per_token",
    "num_selected_experts",
    "top_k_experts",
    "top_k",  # last: old configs carry the sampling default top_k = 50 here
)
_LAYERS = ("num_hidden_layers", "n_layers", "num_layers")
_HIDDEN = ("hidden_size", "d_model")
_WIDTH = ("moe_intermediate_size", "moe_ffn_hidden_size", "ffn_hidden_size", "intermediate_size")
_DENSE_WIDTH = ("dense_intermediate_size", "intermediate_size_mlp", "mlp_intermediate_size")
_SHARED = (
    "n_shared_experts",
    "num_shared_experts",
    "moe_num_shared_experts",
    "num_shared_expert",
)
_SHARED_WIDTH = (  # of all shared experts together
    "moe_shared_expert_intermediate_size",
    "shared_expert_intermediate_size",
    "shared_intermediate_size",
    "share_expert_dim",
)
_GROUPS = ("n_group", "num_expert_group")
_LATENT = ("routed_expert_hidden_size", "moe_latent_size")


def model_from_config(config: Mapping[str, Any], name: str = "") -> ModelSpec:
    """Read a model from the content of a Hugging Face ``config.json``.

    Parameters
    ----------
    config
        The parsed file. Multimodal wrappers may nest the language model under ``text_config``.
    name
        Name of the model; empty takes the one in the config.

    Returns
    -------
    The model, without parameter counts, which no config states.

    Raises
    ------
    InputError
        If the model has no routed experts, or keys are missing or cannot be read.
    """
    name = name or _own_name(config)
    try:
        return _read(_language_parts(config), name)
    except InputError as error:
        text = str(error)
        raise InputError(text if text.startswith("model ") else f"model {name}: {text}") from error


def _read(parts: list[Mapping[str, Any]], name: str) -> ModelSpec:
    config = parts[0]
    num_layers, num_experts, top_k, hidden, width = _required(config)
    family = family_of(parts)
    layers = moe_layer_ids(config, num_layers)
    if not layers:
        raise InputError("not a MoE model: no layer has routed experts")
    n_group, topk_group = _groups(config)
    num_shared, shared_width = _shared(config, family, width)
    latent = first_whole(config, _LATENT)
    gated = "relu2" not in (config.get("mlp_hidden_act"), config.get("hidden_act"))
    dense = has_dense_layers(config, num_layers, len(layers))
    return ModelSpec(
        name=name,
        num_layers=num_layers,
        moe_layers=layers,
        num_experts=num_experts,
        top_k=top_k,
        hidden_size=hidden,
        moe_intermediate_size=width,
        n_group=n_group,
        topk_group=topk_group,
        num_shared_experts=num_shared,
        shared_intermediate_size=shared_width,
        dense_intermediate_size=_dense_width(config) if dense else 0,
        latent_size=None if latent == hidden else latent,
        matrices_per_expert=3 if gated else 2,
        weight_dtype=weight_dtype(parts),
        router=router_of(config, family),
        hash_routed_layers=hash_layer_ids(config, layers),
        architecture=_architecture(parts),
        source="Hugging Face config.json",
    )


def _language_parts(config: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return the part that describes the experts, then those around it."""
    parts = [config]
    while _num_experts(parts[0]) <= 1:
        inner = next((key for key in _NESTED if isinstance(parts[0].get(key), Mapping)), None)
        if inner is None:
            raise InputError(f"not a MoE model: no {', '.join(_EXPERTS)} in the config")
        parts.insert(0, parts[0][inner])
    experts = parts[0].get("ffn_config")
    if isinstance(experts, Mapping):  # DBRX; only these keys, the rest are unused defaults
        keys = ("ffn_hidden_size", "moe_num_experts", "moe_top_k")
        parts[0] = {**parts[0], **{key: experts[key] for key in keys if key in experts}}
    return parts


def _num_experts(config: Mapping[str, Any]) -> int:
    if config.get("enable_moe_block") is False:
        return 0
    ffn = config.get("ffn_config")
    inner = ffn if isinstance(ffn, Mapping) else {}
    key = first_key(config, _EXPERTS)
    return (text_value(config, key) if key else text_value(inner, _EXPERTS[-1])) or 0


def _required(config: Mapping[str, Any]) -> tuple[int, int, int, int, int]:
    """Return layers, experts, top-k, hidden and expert width, or name all that are missing."""
    values: list[int] = []
    missing: list[str] = []
    for keys in (_LAYERS, _EXPERTS, _TOP_K, _HIDDEN, _WIDTH):
        key = first_key(config, keys)
        value = None if key is None else text_value(config, key)
        pattern = block_pattern(config) if keys is _LAYERS else None
        if value is None and pattern is not None:
            value = len(pattern)
        if value is None:
            missing.append(f"{keys[0]} (or {', '.join(keys[1:])})")
        else:
            values.append(value)
    if missing:
        raise InputError(f"the config lacks {'; '.join(missing)}")
    num_layers, num_experts, top_k, hidden, width = values
    return num_layers, num_experts, top_k, hidden, width


def _groups(config: Mapping[str, Any]) -> tuple[int, int]:
    n_group = first_whole(config, _GROUPS) or 1
    ungrouped = config.get("topk_method") == "greedy" or config.get("use_grouped_topk") is False
    if n_group == 1 or ungrouped:
        return 1, 1
    return n_group, first_whole(config, ("topk_group",)) or n_group


def _shared(config: Mapping[str, Any], family: Family, width: int) -> tuple[int, int]:
    if config.get("enable_moe_block") is True:  # Gemma 4: a dense block beside the experts
        return 1, first_whole(config, ("intermediate_size",)) or 0
    count = first_whole(config, _SHARED)
    total = first_whole(config, _SHARED_WIDTH)
    if count == 0 or total == 0:
        return 0, 0
    if total is not None:
        return count or 1, total
    count = family.shared_experts if count is None else count
    return count, count * width


def _dense_width(config: Mapping[str, Any]) -> int:
    stated = first_whole(config, _DENSE_WIDTH)
    if stated is not None or first_key(config, _WIDTH) == "intermediate_size":
        return stated or 0
    return first_whole(config, ("intermediate_size",)) or 0


def _architecture(parts: list[Mapping[str, Any]]) -> str:
    for part in reversed(parts):
        names = part.get("architectures")
        if isinstance(names, list) and names:
            return str(names[0])
    return ""


def _own_name(config: Mapping[str, Any]) -> str:
    stated = str(config.get("_name_or_path") or config.get("model_type") or "model")
    return stated.rstrip("/").rsplit("/", 1)[-1].lower()
