"""What the code of a model family fixes and its Hugging Face configs leave out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from moeplace.models.hf_values import first_key

if TYPE_CHECKING:
    from collections.abc import Mapping

_SCORING = ("scoring_func", "moe_router_activation_func", "moe_router_activation")
_BIAS = (
    "use_routing_bias",
    "use_moe_router_bias",
    "moe_use_aux_free",
    "moe_router_enable_expert_bias",
)


class Family(NamedTuple):
    """Facts of one family; an empty router is not known."""

    router: str = ""
    shared_experts: int = 0


_SOFTMAX = Family("softmax")
_NOAUX = Family("sigmoid-noaux")
FAMILIES = {
    "dbrx": _SOFTMAX,
    "deepseek_v2": _SOFTMAX,
    "deepseek_v3": _NOAUX,
    "deepseek_v32": _NOAUX,
    "deepseek_v4": Family("sqrtsoftplus-noaux"),
    "ernie4_5_moe": Family("softmax-noaux"),
    "ernie4_5_moe_vl": Family("softmax-noaux"),
    "glm4_moe": _NOAUX,
    "glm_moe_dsa": _NOAUX,
    "gpt_oss": _SOFTMAX,
    "grok-1": _SOFTMAX,
    "hunyuan": _SOFTMAX,
    "hunyuan_v1_moe": _SOFTMAX,
    "kimi_k2": _NOAUX,
    "kimi_k25": _NOAUX,
    "llama4": Family("sigmoid", shared_experts=1),
    "llama4_text": Family("sigmoid", shared_experts=1),
    "minimax_m2": _NOAUX,
    "mixtral": _SOFTMAX,
    "nemotron_h": _NOAUX,
    "olmoe": _SOFTMAX,
    "phimoe": Family("sparsemixer"),
    "qwen2_moe": _SOFTMAX,
    "qwen3_5_moe": _SOFTMAX,
    "qwen3_5_moe_text": _SOFTMAX,
    "qwen3_moe": _SOFTMAX,
    "qwen3_next": _SOFTMAX,
    "qwen3_vl_moe": _SOFTMAX,
    "qwen3_vl_moe_text": _SOFTMAX,
}


def family_of(parts: list[Mapping[str, Any]]) -> Family:
    """Return what is known of the family by ``model_type``, the innermost part first."""
    types = [str(part.get("model_type", "")) for part in parts]
    return next((FAMILIES[name] for name in types if name in FAMILIES), Family())


def router_of(config: Mapping[str, Any], family: Family) -> str:
    """Return the scoring function, with ``-noaux`` where a bias balances the experts."""
    key = first_key(config, _SCORING)
    if key is None:
        return family.router
    bias = config.get("topk_method") == "noaux_tc" or family.router.endswith("-noaux")
    bias = bias or any(config.get(flag) is True for flag in _BIAS)
    return f"{config[key]}-noaux" if bias else str(config[key])
