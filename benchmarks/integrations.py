"""The policies that engines plug in beside EPLB, when measured loads change to other ones."""

from __future__ import annotations

import time
from statistics import median
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.timing import table
from moeplace.formulations.heuristics.balance import max_rank_load
from moeplace.formulations.heuristics.eplb import eplb_maps
from moeplace.formulations.incremental import moved_slots
from moeplace.integrations.eplb import rebalance_experts
from moeplace.traces.shipped import shipped_workload

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

SIZE = (288, 8, 4, 32)  # slots, expert groups, nodes, ranks
CHANGES = (
    ("prefill_in4096", "decode_in2000out100"),
    ("decode_in2000out100", "prefill_in4096"),
    ("prefill_in1024", "prefill_in4096"),
    ("decode_in2000out100", "decode_in500out1500"),
    ("prefill_in500out1500", "decode_in500out1500"),
)

POLICIES: dict[str, Callable[[NDArray[np.float64], Any], NDArray[np.int64]]] = {
    "keep the map": lambda load, old: old,
    "EPLB": lambda load, old: eplb_maps(load, *SIZE)[0],
    "EPLB, global": lambda load, old: eplb_maps(load, *SIZE, "global")[0],
    "moeplace, no map given": lambda load, old: rebalance_experts(load, *SIZE)[0],
    "moeplace, slack 1 %": lambda load, old: rebalance_experts(load, *SIZE, old, slack=0.01)[0],
    "moeplace (slack 2 %)": lambda load, old: rebalance_experts(load, *SIZE, old)[0],
    "moeplace, slack 5 %": lambda load, old: rebalance_experts(load, *SIZE, old, slack=0.05)[0],
}


def report(quick: bool) -> str:
    """Return a table: processor time, balancedness and moved slots of each policy and change."""
    repeats = 2 if quick else 9
    rows = []
    for before, after in CHANGES[:1] if quick else CHANGES:
        first, load = (shipped_workload(f"deepseek-v3/{name}").load for name in (before, after))
        for name, policy in POLICIES.items():
            old = eplb_maps(first, *SIZE)[0] if name == "keep the map" else policy(first, None)
            spent, new = _timed(policy, load, old, repeats)
            moved = moved_slots(new, old, SIZE[3])
            rows.append(
                [
                    f"{before} → {after}: {name}",
                    f"{spent:.1f}",
                    f"{_balancedness(load, new):.4f}",
                    f"{moved.mean():.1f}",
                    str(moved.max()),
                ]
            )
    headers = [
        "288 slots on 32 ranks, 58 layers",
        "cpu ms",
        "balancedness",
        "moved a layer",
        "most",
    ]
    text = (
        "Each policy starts from its own map for the first loads (the kept one: EPLB's) and "
        "is called with the second. Moved: replicas on a rank that did not hold the expert."
    )
    return f"{text}\n\n{table(headers, rows)}"


def _timed(
    policy: Callable[[NDArray[np.float64], Any], NDArray[np.int64]],
    load: NDArray[np.float64],
    old: NDArray[np.int64],
    repeats: int,
) -> tuple[float, NDArray[np.int64]]:
    """Return the median processor time of a call in ms, after one that is not counted."""
    new = policy(load, old)
    times = []
    for _ in range(repeats):
        started = time.process_time()
        policy(load, old)
        times.append(time.process_time() - started)
    return 1e3 * median(times), new


def _balancedness(load: NDArray[np.float64], phy2log: NDArray[np.int64]) -> float:
    worst = max_rank_load(load, phy2log.astype(np.int32), SIZE[3])
    return float((load.sum(axis=1) / SIZE[3] / worst).mean())
