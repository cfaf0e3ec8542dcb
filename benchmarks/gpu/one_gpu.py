"""Expert GEMMs and emulated ranks on one GPU: `python -m benchmarks.gpu.one_gpu IN -o F`."""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.gpu.layer import (
    Experts,
    RankLayer,
    about_this_machine,
    median_us,
    random_rows,
    self_test,
)
from benchmarks.gpu.routing import assign, cases, rank_work, step_tokens

SWEEP_TOKENS = (1, 2, 4, 8, 16, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024, 2048, 4096)
SWEEP_EXPERTS = (4, 5, 8, 9, 16, 32, 40)
MOST_ROWS = 160_000
MOST_SLOTS = 64
SMALLEST = 2  # ranks; these are for two_gpus


def main(arguments: list[str]) -> int:
    """Measure and write; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("inputs", type=Path)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--repeats", type=int, default=9, help="timings behind one figure")
    parser.add_argument("--rounds", type=int, default=3, help="figures of each case")
    parser.add_argument("--largest", type=int, default=64, help="ranks")
    parser.add_argument("--limit", type=float, default=500.0, help="seconds; what is left is said")
    given = parser.parse_args(arguments)
    started = time.monotonic()
    experts = Experts.random(MOST_SLOTS)
    document: dict[str, Any] = {
        "meta": {"world": 1, **about_this_machine()},
        "selftest": {"grouped_rel_err": self_test(experts)},
        "calib": {
            "grouped_uniform": _uniform(experts, given.repeats, given.quick),
            "grouped_skewed": _skewed(experts, given.repeats, given.quick),
        },
        "ep_emulated": [],
        "left_out": [],
    }
    inputs = np.load(given.inputs)
    todo = [case for case in cases(inputs) if SMALLEST < case[2] <= given.largest]
    once = todo[:2] if given.quick else todo
    rounds = [(number, *case) for number in range(given.rounds) for case in once]
    for number, phase, layer, ranks, tokens, names in rounds:
        if time.monotonic() - started > given.limit:
            document["left_out"].append([number, phase, layer, ranks, tokens])
            continue
        ids = step_tokens(inputs[f"{phase}.{layer}.topk_ids"], ranks * tokens, seed=tokens)
        for name in names:
            table = inputs[f"{phase}.{layer}.r{ranks}.t{tokens}.{name}"]
            record = _emulate(experts, ids, table, given.repeats)
            about = {"placement": name, "trace": f"{phase}.{layer}", "tokens_per_rank": tokens}
            document["ep_emulated"].append(about | record | {"repeat": number})
        seconds = time.monotonic() - started
        print(
            f"{seconds:.0f} s: round {number}, {phase} {layer}, {ranks} ranks, {tokens} tokens",
            flush=True,
        )
    document["meta"]["elapsed_s"] = round(time.monotonic() - started, 1)
    given.output.write_text(json.dumps(document))
    return 0


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
        for count in (SWEEP_EXPERTS[:1] if quick else SWEEP_EXPERTS)
        for tokens in SWEEP_TOKENS
        if tokens * count <= MOST_ROWS
    ]


def _skewed(experts: Experts, repeats: int, quick: bool) -> list[dict[str, Any]]:
    rng = np.random.default_rng(0)
    found = []
    for slots in (8,) if quick else (4, 8, 32):
        for mean in (4, 32, 128, 1024):
            for power in (0.5, 1.0):
                share = np.arange(1, slots + 1) ** -power
                counts = rng.multinomial(mean * slots, share / share.sum())
                about = {"dist": f"zipf{power}", "mean_tokens_per_expert": mean}
                timed = _timed(experts, counts, repeats)
                found.append({**about, "counts": counts.tolist(), **timed})
    return found


def _emulate(experts: Experts, ids: Any, table: Any, repeats: int) -> dict[str, Any]:
    """Return the compute time of every rank, one after another."""
    ranks, slots = table.shape
    rank_of_pair, slot_of_pair = assign(ids, table)
    works = [rank_work(rank_of_pair, slot_of_pair, rank, slots) for rank in range(ranks)]
    compute, gemms = [], []
    for work in works:
        layer = RankLayer(experts, work.row_of_pair, work.counts, len(work.token))
        x = random_rows(len(work.token))
        compute.append(median_us(lambda f=layer, a=x: f(a), repeats))
        pairs = layer.expand(x)
        gemms.append(
            median_us(lambda f=layer, a=pairs: f.gemm2(f.swiglu(f.gemm1(a))), max(3, repeats // 3))
        )
        del layer, x, pairs
    torch.cuda.empty_cache()
    pairs_per_rank = [int(work.counts.sum()) for work in works]
    return {
        "mode": "dedup",
        "policy": "even",
        "regime": "emulated",
        "world": ranks,
        "slots": int((table >= 0).sum()),
        "slots_per_rank": slots,
        "pairs_per_rank": pairs_per_rank,
        "rows_per_rank": [len(work.token) for work in works],
        "active_slots_per_rank": [int((work.counts > 0).sum()) for work in works],
        "pairs_imbalance": max(pairs_per_rank) / (sum(pairs_per_rank) / ranks),
        "pairs_per_slot": [work.counts.tolist() for work in works],
        "emulated": {
            "compute": {"per_rank_us": compute, "max_us": max(compute)},
            "gemms": {"per_rank_us": gemms, "max_us": max(gemms)},
        },
    }


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
