"""`moeplace.partition` beside Mt-KaHyPar: λ at equal wall time, one thread each, exact balance.

Every preset of Mt-KaHyPar starts again with another seed until its time is over, one run at least;
`partition` then gets the seconds that the best preset used. Building Mt-KaHyPar's hypergraph does
not count, bringing the sets into form counts for `partition`.
"""

from __future__ import annotations

import time
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import numpy as np

import moeplace
from benchmarks.data import data_file
from benchmarks.timing import table
from moeplace.formulations.partition import Nets, connectivity, read_hgr

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

TRACE, GRAPH = "deepseek_v2_lite_trace.npz", "hypergraphs/ibm01.hgr"
PRESETS = ("DEFAULT", "QUALITY", "HIGHEST_QUALITY")
LAYER_S = 1.0  # a layer of the trace
GRAPH_S = (1.0, 10.0)
SEEDS = (5, 1)  # runs with other seeds at each of these limits
SEED_STEP = 1000  # between the first seeds of two runs
MISSING = (
    "Mt-KaHyPar is not installed (`pip install moeplace[bench]`), so `partition` stands alone here."
)


def report(quick: bool) -> str:
    """Return tables of λ for the layers of a trace and for a circuit of 12,752 cells."""
    moeplace.partition([[0, 1], [2, 3]], None, 4, 2, 2, time_limit_s=None, max_iterations=1)
    pairs = np.arange(1100)[:, None] + np.arange(2)
    moeplace.partition(pairs, None, 1200, 2, 600, time_limit_s=None, max_iterations=2)
    engine = _engine()
    parts = [] if engine else [MISSING]
    trace, graph = data_file(TRACE), data_file(GRAPH)
    if trace:
        parts.append(_trace_table(trace, engine, quick))
    if graph:
        parts.append(_graph_table(read_hgr(graph), engine, quick))
    for name, path in ((TRACE, trace), (GRAPH, graph)):
        if path is None:
            parts.append(f"{name} is not there: set MOEPLACE_DATA to the folder that holds it.")
    return "\n\n".join(parts)


def _trace_table(trace: Path, engine: Any, quick: bool) -> str:
    """One row for each number of ranks: mean λ of the layers, and where it is above the other."""
    workload = moeplace.Workload.from_trace(moeplace.load_trace(trace))
    chosen = (workload.token_sets or ())[: 1 if quick else None]
    experts, rows = workload.num_experts, []
    for ranks in (8,) if quick else (4, 8, 16):
        slots = -(-experts // ranks)
        ours, theirs, seconds = [], [], []
        for sets in chosen:
            tokens = sets.total_weight
            lists = [[int(e) for e in row if e >= 0] for row in sets.ids]
            found, limit = _by_preset(engine, lists, sets.weight, experts, ranks, slots, LAYER_S)
            part = moeplace.partition(
                sets.ids, sets.weight, experts, ranks, slots, time_limit_s=limit
            )
            ours.append(connectivity(sets.ids, sets.weight, part) / tokens)
            theirs.append([value / tokens for value in found])
            seconds.append(limit)
        title = f"{len(ours)} layers, {ranks} ranks"
        row = [title, f"{np.mean(seconds):.2f}", f"{np.mean(ours):.4f}"]
        if engine:
            table_of_presets = np.array(theirs)
            worse = int((np.array(ours) > table_of_presets.min(axis=1) * (1 + 1e-9)).sum())
            row += [f"{value:.4f}" for value in table_of_presets.mean(axis=0)]
            row += [f"{table_of_presets.min(axis=1).mean():.4f}", str(worse)]
        rows.append(row)
    return table(_headers("DeepSeek-V2-Lite: ranks a token touches, λ", engine, "layers"), rows)


def _graph_table(nets: Nets, engine: Any, quick: bool) -> str:
    """One row for each number of parts and limit: Σ (λ − 1), what hypergraph papers call km1."""
    lists = [[int(v) for v in net] for net in np.split(nets.expert, nets.start[1:-1])]
    rows = []
    for parts in (4,) if quick else (4, 8, 16, 32):
        slots = -(-nets.num_experts // parts)
        for limit, runs in list(zip(GRAPH_S, SEEDS, strict=True))[: 1 if quick else None]:
            ours, theirs, spent = [], [], []
            for run in range(runs):
                seed = run * SEED_STEP
                found, seconds = _by_preset(
                    engine, lists, nets.weight, nets.num_experts, parts, slots, limit, seed
                )
                part = moeplace.partition(
                    nets, None, nets.num_experts, parts, slots, time_limit_s=seconds, seed=seed
                )
                ours.append(connectivity(nets, None, part) - nets.num_sets)
                theirs.append([value - nets.num_sets for value in found])
                spent.append(seconds)
            row = [f"{parts} parts, {runs} seeds", f"{np.mean(spent):.2f}", f"{np.mean(ours):.0f}"]
            if engine:
                presets = np.array(theirs)
                best = presets.min(axis=1)
                row += [f"{value:.0f}" for value in presets.mean(axis=0)]
                row += [f"{best.mean():.0f}", str(int(np.mean(ours) > best.mean()))]
            rows.append(row)
    title = "ibm01, 12,752 cells, 14,111 nets: Σ (λ − 1), means over seeds"
    return table(_headers(title, engine, "rows"), rows)


def _headers(title: str, engine: Any, what: str) -> list[str]:
    headers = [title, "s", "partition"]
    if engine:
        headers += [f"Mt-KaHyPar {name}" for name in PRESETS]
        headers += ["best of these", f"{what} where partition is worse"]
    return headers


def _engine() -> Any:
    """Return Mt-KaHyPar with one thread, None where it is not installed."""
    if find_spec("mtkahypar") is None:
        return None
    import mtkahypar

    return mtkahypar.initialize(1)


def _by_preset(
    engine: Any,
    lists: list[list[int]],
    weight: NDArray[np.float64],
    vertices: int,
    parts: int,
    slots: int,
    limit_s: float,
    first_seed: int = 0,
) -> tuple[list[float], float]:
    """Return the least Σ w · λ of each preset, infinite if no run keeps the slots, and seconds.

    These are the seconds that the best preset used, `limit_s` without an engine.
    """
    if engine is None:
        return [], limit_s
    import mtkahypar

    found, seconds = [], []
    for preset in PRESETS:
        best, spent, seed = float("inf"), 0.0, first_seed
        while spent < limit_s:
            context = engine.context_from_preset(getattr(mtkahypar.PresetType, preset))
            context.set_partitioning_parameters(parts, 0.0, mtkahypar.Objective.KM1)
            context.logging = False
            whole = [int(w) for w in weight]
            graph = engine.create_hypergraph(
                context, vertices, len(lists), lists, [1] * vertices, whole
            )
            mtkahypar.set_seed(seed)
            started = time.monotonic()
            part = np.array(graph.partition(context).get_partition())
            spent += time.monotonic() - started
            seed += 1
            if np.bincount(part).max() <= slots:
                best = min(best, connectivity(lists, weight, part))
        found.append(best)
        seconds.append(spent)
    return found, seconds[int(np.argmin(found))]
