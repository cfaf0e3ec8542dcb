"""The type of the expert weights, from the quantization section of a Hugging Face config."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

_BY_BITS: dict[tuple[Any, Any], str] = {
    (4, "int"): "int4",
    (4, "float"): "fp4",
    (8, "int"): "int8",
    (8, "float"): "fp8",
}
# Looked for in this order: "mxfp8" and "nvfp4" contain the plain names.
_BY_WORD = (("fp4", "fp4"), ("fp8", "fp8"), ("w8a8", "int8"), ("int8", "int8"), ("int4", "int4"))


def weight_dtype(configs: Iterable[Mapping[str, Any]]) -> str:
    """Return the key of `DTYPE_BYTES` that the expert weights are stored in.

    Parameters
    ----------
    configs
        The config and its nested parts, the innermost first.

    Returns
    -------
    The quantized type where one is stated, ``"fp16"`` for half precision, otherwise ``"bf16"``
    (what single precision checkpoints are served in).
    """
    parts = list(configs)
    for part in parts:
        experts = _by_word(str(part.get("expert_dtype", "")))
        section = part.get("quantization_config")
        found = experts or (_quantized(section) if isinstance(section, Mapping) else None)
        if found is not None:
            return found
    plain = [str(part.get(key)) for part in parts for key in ("torch_dtype", "dtype")]
    stated = next((text for text in plain if text != "None"), "bfloat16")
    return "fp16" if stated.removeprefix("torch.") in ("float16", "half") else "bf16"


def _quantized(section: Mapping[str, Any]) -> str | None:
    groups = section.get("config_groups")
    for group in groups.values() if isinstance(groups, Mapping) else ():
        weights = group.get("weights") if isinstance(group, Mapping) else None
        if isinstance(weights, Mapping):
            kind = (weights.get("num_bits"), weights.get("type", "int"))
            if "fp4" in str(section.get("format", "")):  # MXFP4 groups may leave the type out
                return "fp4"
            if kind in _BY_BITS:
                return _BY_BITS[kind]
    keys = ("moe_quant_algo", "quant_algo", "format", "quant_method")
    words = " ".join(str(section.get(key, "")) for key in keys)
    found = _by_word(words)
    if found is not None:
        return found
    return _BY_BITS.get((section.get("bits"), "int"))  # GPTQ and AWQ


def _by_word(text: str) -> str | None:
    return next((dtype for word, dtype in _BY_WORD if word in text.lower()), None)
