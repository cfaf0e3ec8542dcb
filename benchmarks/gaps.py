"""Certified gaps at full size: what is found beside what is proven, term by term."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass, field
from functools import cache
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.data import data_file
from benchmarks.timing import table
from moeplace import (
    Workload,
    default_workloads,
    load_model,
    load_system,
    load_trace,
    lower_bound,
    make_problem,
    solve,
)
from moeplace.formulations.bounds.relaxation import Parts
from moeplace.traces.sources import load_source

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from moeplace.placement import Problem

HEADERS = ("instance", "layers", "gap, fast %", "gap, strong %", "terms", "bound s", "cpu s")
QUICK_LAYERS = 1
EXACT = ((8, 2, 3), (12, 3, 4), (12, 4, 6), (16, 4, 6), (16, 4, 8))  # experts, parts, top_k


@dataclass(frozen=True)
class Instance:
    """A row: where its workload comes from, and what is asked of it.

    `layers` of them evenly spaced, None for all; `solver_s` seconds for each.
    """

    name: str
    model: str
    hw: str
    ranks: int | None
    trace: str = ""
    solver: str = "auto"
    options: dict[str, Any] = field(default_factory=dict)
    layers: int | None = 8
    solver_s: float = 10.0


INSTANCES = (
    *(
        Instance(f"time, h100-sxm x 32, 32 redundant, {phase}", "deepseek-v3", "h100-sxm", 32,
                 options={"redundant": 32, "phase": phase})
        for phase in ("prefill", "decode")
    ),
    *(
        Instance(f"time, wafer, {phase}", "deepseek-v3", "wafer", None, options={"phase": phase})
        for phase in ("prefill", "decode")
    ),
    Instance("copies, DeepSeek-V2-Lite trace, 8 ranks", "deepseek-v2-lite", "h100-sxm", 8,
             "deepseek_v2_lite_trace.npz", "partition", {"objective": "copies", "dedup": "rank"},
             None),
    *(
        Instance(f"copies, small MoE trace, 32 ranks{word}", "deepseek-v3", "gb200-nvl72", 32,
                 "small_moe_256_trace.npz", "partition",
                 {"objective": "copies", "dedup": "rank", "phase": "prefill", **cap}, layers, 20.0)
        for word, cap, layers in (
            ("", {}, None), (", load <= 1.05 x mean", {"max_load": 1.05}, 6),
        )
    ),
)  # fmt: skip


def problem_of(instance: Instance, layers: int | None) -> Problem | None:
    """Return the instance on some of its layers, None where its trace is not at hand."""
    model = load_model(instance.model)
    system = load_system(instance.hw, ranks=instance.ranks)
    phase: str = instance.options.get("phase", "prefill")
    if instance.trace:
        path = data_file(instance.trace)
        if path is None:
            return None
        whole = Workload.from_trace(load_trace(path), phase=phase)
        whole = whole.replace(layer_ids=tuple(model.moe_layers[: whole.num_layers]))
    else:
        whole = default_workloads(model.name)[phase]
    bound = whole.bind(model)
    if layers is not None and layers < bound.num_layers:
        rows = np.linspace(0, bound.num_layers - 1, layers).astype(int)
        bound = bound.select_layers(rows.tolist())
    return make_problem(model, system, bound, **instance.options)


def report(quick: bool) -> str:
    """Return the tables: full size, balance on every file of loads, and exact sub-instances."""
    rows = []
    for instance in INSTANCES:
        problem = problem_of(instance, QUICK_LAYERS if quick else instance.layers)
        if problem is not None:
            rows.append(_row(instance, problem))
    parts = [
        "Each of the layers for itself, evenly spaced ones where they are not all: mean of their "
        "gaps; terms: the same for each part of the time; seconds of all their strong bounds.",
        table(HEADERS, rows),
        *_balance(quick),
        "Which side is weak: random tokens, small enough to try every partition. "
        "Bound / optimum, mean and least of ten.",
        _exact(3 if quick else 10),
        *_qap(quick),
    ]
    return "\n\n".join(parts)


def _row(instance: Instance, problem: Problem) -> tuple[str, ...]:
    names = ("dispatch", "compute", "combine") if problem.objective == "time" else ()
    gaps, terms, spent = [], [], np.zeros(2)
    for layer in range(problem.num_layers):
        workload = problem.workload.select_layers([layer])
        one = make_problem(problem.model, problem.system, workload, **instance.options)
        fast = lower_bound(one)
        started = np.array([time.monotonic(), time.process_time()])
        strong = lower_bound(one, "strong")
        spent += np.array([time.monotonic(), time.process_time()]) - started
        found = solve(one, instance.solver, instance.solver_s, bound=strong)
        if found.score is None:
            raise SystemExit(f"{instance.name}: no placement")
        value = found.score.objective
        gaps.append([100 * (1 - bound.value / value) for bound in (fast, strong)])
        terms.append([100 * (1 - strong.terms[f"{n}_s"] / getattr(found.score, f"{n}_s"))
                      for n in names])  # fmt: skip
        print(f"{instance.name}, layer {layer}: {gaps[-1][1]:.2f} %", file=sys.stderr, flush=True)
    shares = zip(names, np.mean(terms, axis=0), strict=True)
    return (
        instance.name,
        str(problem.num_layers),
        *(f"{gap:.2f}" for gap in np.mean(gaps, axis=0)),
        ", ".join(f"{n} {share:.1f}" for n, share in shares) or "-",
        *(f"{seconds:.0f}" for seconds in spent),
    )


def _balance(quick: bool) -> list[str]:
    """Return the table of balance gaps at 32 ranks with 32 redundant experts."""
    folder = data_file("deepseek_v3_loads")
    if folder is None:
        return []
    model, system = load_model("deepseek-v3"), load_system("h100-sxm", ranks=32)
    rows = []
    for path in sorted(folder.glob("*.json"))[: 2 if quick else None]:
        loads = load_source(str(path), num_experts=model.num_experts)
        if not isinstance(loads, Workload):
            continue
        problem = make_problem(
            model, system, loads, redundant=32, objective="balance", dedup="none"
        )
        found = solve(problem, "lpt", seed=0)
        better = solve(problem, "auto", 60.0)
        best = max((found, better), key=lambda one: -one.score.objective if one.score else 0)
        rows.append(
            (path.stem, f"{100 * (found.mean_layer_gap or 0):.3f}",
             f"{100 * (best.mean_layer_gap or 0):.3f}")
        )  # fmt: skip
    head = "`balance`, 32 ranks, 32 redundant experts, mean over the layers of the gap in %:"
    return [head, table(("loads", "lpt", "auto"), rows)]


def _qap(quick: bool) -> list[str]:
    """Return the gaps of the three QAP bounds on symmetric QAPLIB instances."""
    from benchmarks.qap import best_known
    from moeplace.formulations.qap import read_qaplib
    from moeplace.formulations.qap.bounds import gilmore_lawler
    from moeplace.formulations.qap.bounds import lower_bound as qap_bound
    from moeplace.formulations.qap.budget import Budget
    from moeplace.formulations.qap.instance import make_instance
    from moeplace.formulations.qap.split_bound import SplitBound

    folder = data_file("qaplib")
    rows: list[tuple[str, ...]] = []
    totals = []
    for path in sorted(folder.glob("*.dat")) if folder else ():
        known = best_known(path)
        instance = make_instance(*read_qaplib(path))
        if not known or not instance.symmetric or instance.size > (30 if quick else 128):
            continue
        deadline = time.monotonic() + (2.0 if quick else 20.0)
        split = qap_bound(instance, known, Budget(deadline, None))
        start = [SplitBound(instance, swapped) for swapped in (False, True)]
        nothing = np.zeros_like(instance.flow), np.zeros(instance.size)
        projection = max(one._evaluate(*nothing)[0] for one in start)
        values = (gilmore_lawler(instance).value, projection, split.value if split else 0.0)
        totals.append([100 * (1 - value / known) for value in values])
        rows.append((path.stem, str(instance.size), *(f"{gap:.1f}" for gap in totals[-1])))
    if not rows:
        return []
    rows.append(("mean", "", *(f"{gap:.1f}" for gap in np.mean(totals, axis=0))))
    head = ("QAPLIB, symmetric", "n", "Gilmore-Lawler", "projection", "split")
    return ["Below the best known cost in %:", table(head, rows)]


def _exact(instances: int) -> str:
    """Return bound / optimum for touched parts of random tokens, all parts full."""
    from moeplace.formulations.bounds.partition import touched_parts
    from moeplace.traces import TokenSets

    rows = []
    for experts, parts, top_k in EXACT:
        ratios = []
        for seed in range(instances):
            rng = np.random.default_rng(seed)
            ids = np.argsort(rng.random((20 * experts, experts)), axis=1)[:, :top_k]
            sets = TokenSets(ids.astype(np.int32), np.ones(len(ids)))
            proven = touched_parts(sets, Parts(experts, parts, experts // parts)).value
            ratios.append(proven / least_touched(ids, experts, experts // parts))
        rows.append(
            (f"{experts} experts, {parts} parts, top {top_k}",
             f"{np.mean(ratios):.3f}", f"{np.min(ratios):.3f}")
        )  # fmt: skip
    return table(("random tokens", "mean", "least"), rows)


def least_touched(ids: NDArray[np.int64], experts: int, capacity: int) -> float:
    """Return the least mean number of touched parts over all partitions into full parts."""
    masks = np.arange(1 << experts)
    touched = np.zeros(len(masks))
    for token in (1 << ids).sum(axis=1):
        touched += (masks & token) != 0

    @cache
    def least(left: int) -> float:
        if not left:
            return 0.0
        low = left & -left
        others = [1 << e for e in range(experts) if left & ~low & (1 << e)]
        chosen = (low + sum(rest) for rest in combinations(others, capacity - 1))
        return min(float(touched[part]) + least(left ^ part) for part in chosen)

    return least((1 << experts) - 1) / len(ids)
