"""Published throughputs of whole deployments against the estimate, with every setting shown."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from moeplace.errors import InputError

if TYPE_CHECKING:
    from moeplace.hwmodels.calibrate.published import PublishedRow

# One factor for all: between DeepSeek's own (dispatch 1.8, combine 1.3, EP64 training trace).
IN_SITU = 1.5


@dataclass(frozen=True)
class Deployment:
    """What a publication says about a run, and what it leaves open.

    Attributes
    ----------
    pattern
        Of the row's label (hardware, system, phase).
    model, system, ranks, phase, tokens_per_rank, context, redundant, expert_dtype
        Settings.
    gpus
        GPUs that the figure is for, 8 for "per node".
    assumed
        Settings that the publication does not state.
    """

    pattern: str
    model: str
    system: str
    ranks: int
    phase: str
    tokens_per_rank: int
    context: int
    redundant: int = 32
    expert_dtype: str | None = None
    gpus: int = 1
    assumed: str = ""


_PREFILL_BATCH = "16,384 tokens a GPU and step assumed"
DEPLOYMENTS = (
    *(
        Deployment(
            rf"H100x8 node.*prefill EP32 {size}K",
            "deepseek-v3",
            "h100-sxm",
            32,
            "prefill",
            16384,
            1024 * size,
            gpus=8,
            assumed=_PREFILL_BATCH,
        )
        for size in (1, 2, 4)
    ),
    Deployment(
        r"H100x8 node.*decode EP72 2K", "deepseek-v3", "h100-sxm", 72, "decode", 256, 2000, gpus=8
    ),
    Deployment(
        r"H800x8 node.*prefill EP32",
        "deepseek-v3",
        "h800-sxm",
        32,
        "prefill",
        16384,
        4096,
        gpus=8,
        assumed=f"{_PREFILL_BATCH}; the figure counts cache hits (56 % of the input)",
    ),
    Deployment(
        r"H800x8 node.*decode EP144",
        "deepseek-v3",
        "h800-sxm",
        144,
        "decode",
        96,
        4989,
        gpus=8,
        assumed="batch 96 assumed (20-22 tokens/s for a user)",
    ),
    Deployment(
        r"H200x8 node.*prefill 4 nodes",
        "kimi-k2",
        "h200-sxm",
        32,
        "prefill",
        16384,
        2048,
        96,
        gpus=8,
        assumed=f"{_PREFILL_BATCH}, 2K prompts assumed",
    ),
    Deployment(
        r"H200x8 node.*decode 12 nodes",
        "kimi-k2",
        "h200-sxm",
        96,
        "decode",
        480,
        2048,
        96,
        gpus=8,
        assumed="2K cache assumed",
    ),
    Deployment(
        r"GB200.*decode part1 batch 768", "deepseek-v3", "gb200-nvl72", 48, "decode", 768, 2000
    ),
    Deployment(
        r"GB200.*prefill part2 fp8attn\+nvfp4",
        "deepseek-v3",
        "gb200-nvl72",
        4,
        "prefill",
        16384,
        2000,
        expert_dtype="fp4",
        assumed=f"{_PREFILL_BATCH}, EP4",
    ),
    Deployment(
        r"GB200.*decode part2 fp8attn\+nvfp4",
        "deepseek-v3",
        "gb200-nvl72",
        48,
        "decode",
        1408,
        2000,
        expert_dtype="fp4",
        assumed="batch 1,408 assumed",
    ),
    Deployment(
        r"GB200.*prefill part2 bf16",
        "deepseek-v3",
        "gb200-nvl72",
        4,
        "prefill",
        16384,
        2000,
        assumed=f"{_PREFILL_BATCH}, EP4",
    ),
    Deployment(
        r"GB200.*decode part2 bf16",
        "deepseek-v3",
        "gb200-nvl72",
        48,
        "decode",
        768,
        2000,
        assumed="batch 768 assumed",
    ),
    Deployment(
        r"GB200.*prefill 2K/2K",
        "deepseek-v3",
        "gb200-nvl72",
        2,
        "prefill",
        16384,
        2048,
        0,
        "fp4",
        assumed=_PREFILL_BATCH,
    ),
    Deployment(
        r"GB200.*decode 2K/2K",
        "deepseek-v3",
        "gb200-nvl72",
        8,
        "decode",
        512,
        3072,
        0,
        "fp4",
        assumed="batch 512 assumed",
    ),
)


@lru_cache(maxsize=64)
def _estimate(deployment: Deployment) -> tuple[float, tuple[str, ...]]:
    from moeplace.hwmodels.calibrate.estimate import estimate
    from moeplace.hwmodels.catalog import load_system
    from moeplace.models import load_model

    found = estimate(
        load_model(deployment.model),
        load_system(deployment.system, deployment.ranks),
        deployment.phase,
        deployment.tokens_per_rank,
        deployment.context,
        redundant=deployment.redundant,
        in_situ_factor=IN_SITU,
        overlap=True,
        expert_dtype=deployment.expert_dtype,
    )
    return found.tokens_per_s * deployment.gpus, found.notes


def predict_published(row: PublishedRow) -> tuple[float, str, int, str] | str:
    """Return (tokens/s in the row's unit, system, ranks, note), or why there is no estimate."""
    fits = (each for each in DEPLOYMENTS if re.search(each.pattern, row.label, re.IGNORECASE))
    deployment = next(fits, None)
    if deployment is None:
        return "end-to-end figure whose settings (batch, EP size, tensor parallelism) are not known"
    try:
        value, notes = _estimate(deployment)
    except InputError as error:
        return str(error)
    told = [deployment.assumed, f"in-situ factor {IN_SITU}, overlap", "balanced", *notes]
    return value, deployment.system, deployment.ranks, "; ".join(each for each in told if each)
