"""`rebalance_experts` beside EPLB's algorithm, on the measured loads that come along."""

from __future__ import annotations

import time
from statistics import median
from typing import TYPE_CHECKING

import numpy as np

import moeplace
from benchmarks.eplb_reference import eplb_reference
from benchmarks.load_data import golden_cases, measured_loads
from benchmarks.timing import median_ms, table
from moeplace.formulations.bounds.load import max_rank_pairs_bound
from moeplace.formulations.heuristics.balance import max_rank_load
from moeplace.formulations.heuristics.eplb import eplb_maps

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

# replicas, groups, nodes, devices
SIZES = ((256, 8, 4, 32), (288, 8, 4, 32), (288, 8, 18, 72), (320, 8, 20, 160))


def report(quick: bool) -> str:
    """Return a table: time, balancedness and wasted replicas for each size and phase."""
    repeats = 1 if quick else 7
    rows = []
    for phase, workload in moeplace.default_workloads("deepseek-v3").items():
        for replicas, groups, nodes, devices in SIZES[1:2] if quick else SIZES:
            call = (workload.load, replicas, groups, nodes, devices)
            bound = max_rank_pairs_bound(workload.load, devices, replicas // devices, replicas)
            best = _balancedness(workload.load, bound.value, devices)
            for name, function in (
                ("EPLB", eplb_maps),
                ("EPLB, global", lambda *c: eplb_maps(*c, "global")),
                ("rebalance_experts", moeplace.rebalance_experts),
            ):
                table_of_slots = function(*call)[0]
                worst = max_rank_load(workload.load, table_of_slots, devices)
                rows.append(
                    [
                        f"{phase}, {replicas} slots on {devices}: {name}",
                        f"{median_ms(lambda f=function, c=call: f(*c), repeats):.0f}",
                        f"{_balancedness(workload.load, worst, devices):.4f}",
                        f"{best:.4f}",
                        str(_duplicates(table_of_slots, devices)),
                    ]
                )
    headers = ["DeepSeek-V3, 58 layers", "ms", "balancedness", "at most", "wasted replicas"]
    parts = [table(headers, rows)]
    if not quick and measured_loads():
        parts += [_golden(), _every_file(repeats)]
    return "\n\n".join(parts)


def _golden() -> str:
    """Return a table: the runs of the genuine EPLB on record, its loops in NumPy, and ours."""
    rows, loads = [], measured_loads()
    for case in golden_cases():
        load = loads[case["file"].removesuffix(".json")]
        size = tuple(case[f"num_{part}"] for part in ("replicas", "groups", "nodes", "gpus"))
        call = (load, *size)
        loops = _cpu_ms(lambda c=call: eplb_reference(*c), 3)
        spent = _cpu_ms(lambda c=call: moeplace.rebalance_experts(*c), 15)
        worst = [
            max_rank_load(load, function(*call).astype(np.int32), size[3])
            for function in (eplb_reference, lambda *c: moeplace.rebalance_experts(*c)[0])
        ]
        rows.append(
            [
                f"{case['file']}, {size[0]} slots on {size[3]}, {case['policy']}",
                f"{1e3 * case['seconds']:,.0f}",
                f"{loops:.0f}",
                f"{spent:.1f}",
                f"{1e3 * case['seconds'] / spent:.0f}×",
                f"{loops / spent:.1f}×",
                f"{case['mean_balancedness']:.4f}",
                *(f"{_balancedness(load, value, size[3]):.4f}" for value in worst),
            ]
        )
    headers = [
        "genuine EPLB on record",
        "ms",
        "loops cpu ms",
        "ours cpu ms",
        "to genuine",
        "to loops",
    ]
    return table([*headers, "balancedness", "loops", "ours"], rows)


def _every_file(repeats: int) -> str:
    """Return a table: all measured loads in 288 slots on 32 devices."""
    rows = []
    for name, load in measured_loads().items():
        call = (load, 288, 8, 4, 32)
        loops = _cpu_ms(lambda c=call: eplb_reference(*c), 3)
        spent = _cpu_ms(lambda c=call: moeplace.rebalance_experts(*c), repeats)
        maps = (eplb_reference(*call), moeplace.rebalance_experts(*call)[0])
        values = [max_rank_load(load, m.astype(np.int32), 32) for m in maps]
        balanced = [f"{_balancedness(load, value, 32):.4f}" for value in values]
        rows.append([name, f"{loops:.0f}", f"{spent:.1f}", f"{loops / spent:.1f}×", *balanced])
    headers = [
        "288 slots on 32",
        "loops cpu ms",
        "ours cpu ms",
        "ratio",
        "EPLB balancedness",
        "ours",
    ]
    return table(headers, rows)


def _cpu_ms(function: Callable[[], object], repeats: int) -> float:
    """Return the median processor time of a call in ms, after one that is not counted."""
    function()
    times = []
    for _ in range(repeats):
        started = time.process_time()
        function()
        times.append(time.process_time() - started)
    return 1e3 * median(times)


def _balancedness(load: NDArray[np.float64], worst: NDArray[np.float64], devices: int) -> float:
    return float((load.sum(axis=1) / devices / worst).mean())


def _duplicates(phy2log: NDArray[np.int64], devices: int) -> int:
    """Return how many slots hold an expert that their device holds already."""
    by_device = phy2log.reshape(phy2log.shape[0], devices, -1).copy()
    by_device.sort(axis=2)
    return int((by_device[:, :, 1:] == by_device[:, :, :-1]).sum())
