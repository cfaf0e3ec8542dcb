"""`rebalance_experts` beside EPLB's algorithm, on the measured loads that come along."""

from __future__ import annotations

from typing import TYPE_CHECKING

import moeplace
from benchmarks.timing import median_ms, table
from moeplace.formulations.bounds.load import max_rank_pairs_bound
from moeplace.formulations.heuristics.balance import max_rank_load
from moeplace.formulations.heuristics.eplb import eplb_maps

if TYPE_CHECKING:
    import numpy as np
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
    return table(headers, rows)


def _balancedness(load: NDArray[np.float64], worst: NDArray[np.float64], devices: int) -> float:
    return float((load.sum(axis=1) / devices / worst).mean())


def _duplicates(phy2log: NDArray[np.int64], devices: int) -> int:
    """Return how many slots hold an expert that their device holds already."""
    by_device = phy2log.reshape(phy2log.shape[0], devices, -1).copy()
    by_device.sort(axis=2)
    return int((by_device[:, :, 1:] == by_device[:, :, :-1]).sum())
