"""How long `evaluate` takes for one placement, and how long the proven bound takes."""

from __future__ import annotations

import time
from statistics import median
from typing import TYPE_CHECKING

import moeplace
from benchmarks.timing import median_ms, table

if TYPE_CHECKING:
    from collections.abc import Callable

SYSTEMS = (("wafer", None, 0), ("h100-sxm", 32, 0), ("h100-sxm", 32, 32))


def report(quick: bool) -> str:
    """Return a table: DeepSeek-V3 on several systems, both phases."""
    repeats = 3 if quick else 15
    rows = []
    model = moeplace.load_model("deepseek-v3")
    for name, ranks, redundant in SYSTEMS[:1] if quick else SYSTEMS:
        system = moeplace.load_system(name, ranks)
        workloads = moeplace.default_workloads("deepseek-v3")
        for phase in ("prefill", "decode"):
            problem = moeplace.make_problem(model, system, workloads, redundant, phase=phase)
            placement = moeplace.solve(problem, "lpt").placement
            spent, used = _both_ms(lambda p=problem, x=placement: moeplace.evaluate(p, x), repeats)
            bound = median_ms(lambda p=problem: moeplace.lower_bound(p), 1)
            rows.append(
                [
                    f"{name}, {system.ranks} ranks, {redundant} redundant, {phase}",
                    problem.dedup,
                    f"{used:.1f}",
                    f"{spent:.1f}",
                    f"{spent / problem.num_layers:.2f}",
                    f"{bound:,.0f}",
                ]
            )
    headers = ["DeepSeek-V3, 58 layers", "dedup", "evaluate: processor ms"]
    headers += ["ms", "ms a layer", "lower_bound ms"]
    return table(headers, rows)


def _both_ms(work: Callable[[], object], repeats: int) -> tuple[float, float]:
    """Return medians of the time and of the processor time, after warming up."""
    work()
    spent, used = [], []
    for _ in range(repeats):
        started, begun = time.perf_counter(), time.process_time()
        work()
        spent.append(time.perf_counter() - started)
        used.append(time.process_time() - begun)
    return 1e3 * median(spent), 1e3 * median(used)
