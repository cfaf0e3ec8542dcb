"""Packing of literature instances of P||Cmax beside LPT and the lower bound."""

from __future__ import annotations

import time

import numpy as np

from benchmarks.load_data import NOT_THERE, makespan_instances
from benchmarks.timing import table
from moeplace.formulations.heuristics.lpt import balance_swaps, lpt_table
from moeplace.formulations.heuristics.movement import balance_within

SPARE = 3  # slots a machine holds beyond an equal share; the rule of the slots is not the problem's


def report(quick: bool) -> str:
    """Return a table: jobs as experts of one layer, machines as ranks with spare slots."""
    instances = makespan_instances()
    if not instances:
        return NOT_THERE
    rows = []
    balance_within(
        np.ones(2),
        np.array([[0], [1]], np.int32),
        np.ones((2, 2), np.bool_),
        max_moves=0,
        max_replicas=2,
    )  # compiled before
    for name, (machines, times) in list(instances.items())[: 2 if quick else None]:
        load = times[None]
        slots = min(times.size, -(-times.size // machines) * SPARE)
        ordered = np.sort(times)[::-1]
        bound = max(np.ceil(times.sum() / machines), ordered[0])
        if times.size > machines:
            bound = max(bound, ordered[machines - 1] + ordered[machines])
        count = np.ones(load.shape, np.int64)
        started = time.process_time()
        packed = lpt_table(load, count, machines, slots)
        lpt = _largest(times, packed, machines)
        swapped = balance_swaps(load, packed, machines, target=float(bound))
        values = [lpt, _largest(times, swapped, machines)]
        annealed = swapped.reshape(machines, slots).copy()
        placed = np.ones((times.size, machines), np.bool_)  # nothing counts as moved
        found = balance_within(
            times, annealed, placed, max_moves=0, max_replicas=times.size, floor=float(bound)
        )
        spent = 1e3 * (time.process_time() - started)
        values.append(found)
        cells = [f"{bound:,.0f}", *(f"{value:,.0f}" for value in values)]
        gaps = [f"{100 * (value / bound - 1):.3f}" for value in values]
        rows.append([name, str(times.size), str(machines), *cells, *gaps, f"{spent:.1f}"])
    headers = ["instance", "jobs", "machines", "bound", "LPT", "swaps", "annealed"]
    return table([*headers, "LPT, gap %", "swaps", "annealed", "ms"], rows)


def _largest(times: np.ndarray, packed: np.ndarray, machines: int) -> float:
    held = packed.reshape(machines, -1)
    return float(np.where(held >= 0, times[held], 0.0).sum(axis=1).max())
