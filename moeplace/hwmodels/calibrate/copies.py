"""How many copies a token makes and how many bytes one is, counted as the kernels count them.

Tokens pick `top_k` of the experts uniformly, or uniformly inside `top_groups` of `groups` groups
of experts that were picked uniformly first. Experts lie contiguously on the ranks. A router that
picks groups by the scores of their best experts spreads a little more evenly than that: 3.12
instead of 2.93 of 4 nodes for DeepSeek-V3's best 4 of 8 groups.
"""

from __future__ import annotations

from functools import lru_cache
from math import comb

from moeplace.errors import InputError

PAYLOADS = ("fp8", "int8", "nvfp4", "bf16", "fp16")


def _untouched(experts: int, top_k: int, held: float) -> float:
    """Return the chance that `held` of the experts are all missed by a token; hypergeometric."""
    whole = int(held)
    if whole >= experts - top_k + 1:
        return 0.0
    below = comb(experts - whole, top_k) / comb(experts, top_k)
    if held == whole:
        return below
    above = comb(experts - whole - 1, top_k) / comb(experts, top_k)
    return below + (held - whole) * (above - below)


@lru_cache(maxsize=4096)
def touch_chance(
    experts: int, top_k: int, held: float, groups: int = 1, top_groups: int = 1
) -> float:
    """Return the chance that a token needs at least one of `held` neighboring experts.

    `held` may be a fraction where experts do not divide evenly.

    Raises
    ------
    InputError
        If a token cannot choose that many experts.
    """
    if not (1 <= top_k <= experts and 1 <= top_groups <= groups):
        raise InputError(f"top {top_k} of {experts} experts, top {top_groups} of {groups} groups")
    if groups == 1 or groups == top_groups:
        return 1 - _untouched(experts, top_k, held)
    size = experts // groups
    if held <= size:
        return top_groups / groups * (1 - _untouched(size * top_groups, top_k, held))
    whole = max(1, round(held / size))
    chance = 0.0
    for chosen in range(min(whole, top_groups) + 1):
        share = comb(whole, chosen) * comb(groups - whole, top_groups - chosen)
        missed = _untouched(size * top_groups, top_k, chosen * size)
        chance += share / comb(groups, top_groups) * (1 - missed)
    return chance


def distinct(parts: int, experts: int, top_k: int, groups: int = 1, top_groups: int = 1) -> float:
    """Return the expected distinct ranks (or nodes) that serve a token, its own included.

    `parts` ranks hold the experts in equal shares.
    """
    return parts * touch_chance(experts, top_k, experts / parts, groups, top_groups)


def payload_bytes(dtype: str, width: int, header: int = 0) -> float:
    """Return bytes of one copy of a token: values, scales and header.

    FP8 and INT8 carry one 4-byte scale per 128 values (DeepEP), NVFP4 one byte per 16 values.

    Raises
    ------
    InputError
        If the dtype is unknown.
    """
    if dtype in ("bf16", "fp16"):
        return 2.0 * width + header
    if dtype in ("fp8", "int8"):
        return width + 4.0 * -(-width // 128) + header
    if dtype == "nvfp4":
        return width / 2 + width / 16 + header
    raise InputError(f"unknown payload type {dtype!r}: use one of {', '.join(PAYLOADS)}")
