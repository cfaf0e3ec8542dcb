"""Expert buffering: misses by rule of eviction on measured routing, and how fast it is replayed."""

from __future__ import annotations

import time

from benchmarks.timing import table
from moeplace import load_model, load_system
from moeplace.replay.balancing import balanced_ranks
from moeplace.replay.buffering import (
    CACHE_POLICIES,
    batch_requests,
    host_link,
    layer_times,
    simulate,
)
from moeplace.traces import default_trace

RANKS = 8
BATCHES = (4, 64, 1024)
SIZES = (2, 4, 6)


def report(quick: bool) -> str:
    """Return miss rates of each rule by batch and size, and accesses replayed per second."""
    model = load_model("deepseek-v2-lite")
    trace = default_trace("deepseek-v2-lite")
    if trace is None:
        raise SystemExit("the trace of deepseek-v2-lite is not there")
    system, host = load_system("h100-sxm", RANKS), host_link("pcie4")
    batches = BATCHES[1:2] if quick else BATCHES
    sizes = SIZES[1:2] if quick else SIZES
    cases = []
    for tokens in batches:
        requests = batch_requests(trace, tokens)
        owner = balanced_ranks(requests, RANKS, "contiguous")
        cases.append((requests, owner, layer_times(model, system, host, tokens)))
    for requests, owner, times in cases[:1]:
        simulate(requests.part(slice(0, 1)), owner, 1, "lru", times)  # compiled before it is timed
    rows = []
    for name in CACHE_POLICIES:
        cells, accesses, seconds = [], 0, 0.0
        for requests, owner, times in cases:
            for size in sizes:
                started = time.process_time()
                run = simulate(requests, owner, size, name, times)
                seconds += time.process_time() - started
                accesses += int(run.accesses.sum())
                cells.append(f"{run.miss_rate:.1%}")
        rows.append([name, *cells, f"{accesses / seconds / 1e6:.1f}"])
    headers = [
        "DeepSeek-V2-Lite, 8 ranks",
        *(f"{b} tokens, {c} of 8" for b in batches for c in sizes),
    ]
    return table([*headers, "million accesses/s"], rows)
