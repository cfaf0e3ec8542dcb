"""Micro-benchmarks of one GPU: grouped expert GEMMs, memory copies, moving rows."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from benchmarks.gpu.layer import HIDDEN, Experts, RankLayer, median_us, random_rows

TOKENS = (1, 2, 4, 8, 16, 32, 48, 64, 96, 128, 160, 192, 256, 384, 512, 768, 1024, 2048, 4096)
EXPERTS = (4, 5, 8, 9, 16, 32, 33)
SKEWED_SLOTS = (4, 5, 8, 9, 32, 33)
SKEWED_MEANS = (4, 16, 32, 64, 96, 128, 144, 192, 320, 512, 1024, 2048)
ZIPF_POWERS = (0.0, 0.5, 1.0)
COPY_MIB = (1, 4, 16, 64, 256, 1024)
MOVED_ROWS = (16, 64, 256, 1024, 4096, 16_384)
MOVED_PER_ROW = (1, 2, 4)
MOST_ROWS = 160_000


def all_sweeps(experts: Experts, repeats: int, quick: bool) -> dict[str, Any]:
    """Return every sweep."""
    return {
        "hbm_copy": _copies(repeats, quick),
        "moved": _moved(experts, repeats, quick),
        "grouped_uniform": _uniform(experts, repeats, quick),
        "grouped_skewed": _skewed(experts, repeats, quick),
    }


def _timed(experts: Experts, counts: np.ndarray, repeats: int) -> dict[str, Any]:
    """Return times of the two GEMMs for tokens by expert."""
    pairs = int(counts.sum())
    layer = RankLayer(experts, np.arange(pairs), counts, pairs)
    x = random_rows(pairs)
    both = layer.gemm1(x)
    hidden = layer.swiglu(both)
    return {
        "gemm1_us": [median_us(lambda: layer.gemm1(x), repeats)],
        "swiglu_us": [median_us(lambda: layer.swiglu(both), repeats)],
        "gemm2_us": [median_us(lambda: layer.gemm2(hidden), repeats)],
        "total_us": [
            median_us(lambda: layer.gemm2(layer.swiglu(layer.gemm1(x))), repeats),
        ],
        "rows": pairs,
        "experts": len(counts),
        "active": int((counts > 0).sum()),
    }


def _uniform(experts: Experts, repeats: int, quick: bool) -> list[dict[str, Any]]:
    return [
        {"tokens_per_expert": tokens, **_timed(experts, np.full(count, tokens), repeats)}
        for count in (EXPERTS[:1] if quick else EXPERTS)
        for tokens in TOKENS
        if tokens * count <= MOST_ROWS
    ]


def _skewed(experts: Experts, repeats: int, quick: bool) -> list[dict[str, Any]]:
    """Rows of the experts drawn from a power law; power 0 is what chance does to even loads."""
    rng = np.random.default_rng(0)
    found = []
    for slots in (8,) if quick else SKEWED_SLOTS:
        for mean in SKEWED_MEANS:
            for power in ZIPF_POWERS:
                share = np.arange(1, slots + 1) ** -power
                counts = rng.permutation(rng.multinomial(mean * slots, share / share.sum()))
                about = {"dist": f"zipf{power}", "mean_tokens_per_expert": mean}
                timed = _timed(experts, counts, repeats)
                found.append({**about, "counts": counts.tolist(), **timed})
    return found


def _copies(repeats: int, quick: bool) -> list[dict[str, Any]]:
    found = []
    for mib in COPY_MIB[:2] if quick else COPY_MIB:
        source = torch.empty(mib << 20, dtype=torch.uint8, device="cuda")
        target = torch.empty_like(source)
        work = median_us(lambda a=source, b=target: b.copy_(a), repeats)
        found.append({"mib": mib, "per_rank_us": [work]})
    return found


def _moved(experts: Experts, repeats: int, quick: bool) -> list[dict[str, Any]]:
    """Return times of spreading rows to random experts and of summing what comes back."""
    rng = np.random.default_rng(0)
    found = []
    for rows in MOVED_ROWS[:2] if quick else MOVED_ROWS:
        for times in MOVED_PER_ROW:
            pairs = rows * times
            row_of_pair = rng.permutation(np.repeat(np.arange(rows), times))
            layer = RankLayer(experts, row_of_pair, np.array([pairs]), rows)
            x, values = random_rows(rows), random_rows(pairs)
            found.append(
                {
                    "rows": rows,
                    "pairs": pairs,
                    "row_bytes": 2 * HIDDEN,
                    "expand_us": [median_us(lambda f=layer, a=x: f.expand(a), repeats)],
                    "reduce_us": [median_us(lambda f=layer, a=values: f.reduce(a), repeats)],
                }
            )
    return found
