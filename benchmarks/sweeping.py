"""How long a sweep over ranks, redundancy and bandwidths takes."""

from __future__ import annotations

import time

from benchmarks.timing import table
from moeplace.formulations.sweep import Sweep, run_sweep


def report(quick: bool) -> str:
    """Return one row: points, wall and processor time of a sweep on H100 nodes."""
    asked = Sweep(
        models=["deepseek-v3", "deepseek-v2-lite"][: 1 if quick else 2],
        systems=["h100-sxm"],
        phases=["prefill", "decode"],
        ranks=[16, 32, 64],
        redundant=[0, 32, 64],
        link_GBps=[None, 200.0, 900.0],
        nic_GBps=[None, 50.0] if quick else [12.5, 25.0, 50.0, 100.0, 200.0],
    )
    wall, cpu = time.perf_counter(), time.process_time()
    rows = run_sweep(asked)
    spent = time.perf_counter() - wall, time.process_time() - cpu
    fit = sum(row["status"] == "ok" for row in rows)
    cells = [f"{len(rows)}", f"{fit}", f"{spent[0]:.0f}", f"{spent[1]:.0f}"]
    return table(["points", "that fit", "s", "processor s"], [cells])
