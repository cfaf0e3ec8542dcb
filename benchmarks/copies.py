"""Ranks a token touches, on requests that were not fitted on, with the load under control."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from benchmarks.data import data_file
from benchmarks.timing import table
from moeplace.errors import MoeplaceError
from moeplace.formulations.registry import load_solver
from moeplace.formulations.solver import Run
from moeplace.hwmodels import load_system
from moeplace.models import load_model
from moeplace.placement import evaluate, layer_imbalance, make_problem
from moeplace.traces import Workload, load_trace

if TYPE_CHECKING:
    from pathlib import Path

    from moeplace.models import ModelSpec
    from moeplace.placement import Problem

HEADERS = ("map", "ranks/token fit", "holdout", "load/mean fit", "holdout", "s", "cpu s")
OTHERS = ("contiguous", "random", "eplb", "grace", "occult")
QUICK_LAYERS = 2


def report(quick: bool) -> str:
    """Return the tables for the traces in the data folder."""
    parts = []
    if (path := data_file("deepseek_v2_lite_trace.npz")) is not None:
        model = load_model("deepseek-v2-lite")
        rows = []
        for redundant, dispatch, max_load in (
            (0, "even", 1.1), (8, "even", 1.1), (8, "cover", 1.1), (8, "cover", 1.05),
        ):  # fmt: skip
            problem = make(path, model, 8, redundant, dispatch, max_load, quick)
            if (redundant, dispatch) != (8, "even") and max_load == 1.1:
                rows += [row(problem, name, redundant, dispatch) for name in OTHERS]
            rows.append(row(problem, "auto", redundant, dispatch))
        parts.append(
            "DeepSeek-V2-Lite, 26 MoE layers of 64 experts, top 6, 8 ranks; half of the requests "
            f"held out.\n\n{table(HEADERS, rows)}"
        )
    if (path := data_file("small_moe_256_trace.npz")) is not None:
        rows = []
        for ranks in (8, 16):
            problem = make(path, None, ranks, 0, "even", None, quick)
            rows += [row(problem, name, ranks, "ranks") for name in ("contiguous", "eplb", "auto")]
        parts.append(
            "A small MoE with DeepSeek-V3's router shape: 256 experts, top 8 of 4 of 8 groups; no "
            f"replicas, no limit on the load.\n\n{table(HEADERS, rows)}"
        )
    return "\n\n".join(parts) or "Without the traces of the data folder: set MOEPLACE_DATA."


def make(
    path: Path,
    model: ModelSpec | None,
    ranks: int,
    redundant: int,
    dispatch: str,
    max_load: float | None,
    quick: bool,
) -> Problem:
    """Return the problem of one half of a trace's requests, the other held out."""
    fit, held = (Workload.from_trace(part) for part in load_trace(path).split(0.5, "request", 0))
    if quick:
        fit, held = (part.select_layers(list(range(QUICK_LAYERS))) for part in (fit, held))
    if model is None:
        layers = fit.layer_ids or tuple(range(fit.num_layers))
        model = load_model("deepseek-v3").replace(
            name="small", num_layers=max(layers) + 1, moe_layers=layers
        )
    return make_problem(
        model,
        load_system("gb200-nvl72" if ranks > 8 else "h100-sxm", ranks),
        fit,
        redundant,
        "copies",
        dedup="rank",
        dispatch=dispatch,
        max_load=max_load,
        holdout=held,
    )


def row(problem: Problem, solver: str, *settings: object) -> list[str]:
    """Run one solver; return its row."""
    limit = "" if problem.max_load is None or solver != "auto" else f" ≤ {problem.max_load:g}"
    name = f"{solver}{limit} ({', '.join(str(s) for s in settings)})"
    started, busy = time.perf_counter(), time.process_time()
    try:
        placement = load_solver(solver)(problem, Run(), None).placement
    except MoeplaceError as error:
        return [name, str(error), *[""] * 5]
    wall_s, cpu_s = time.perf_counter() - started, time.process_time() - busy
    if placement is None or problem.holdout is None:
        return [name, "none", *[""] * 5]
    parts = (problem, problem.with_workload(problem.holdout))
    touched = [evaluate(part, placement).ranks_per_token for part in parts]
    loads = [layer_imbalance(part, placement).mean() for part in parts]
    return [
        name,
        *(f"{value:.3f}" for value in (*touched, *loads)),
        f"{wall_s:.1f}",
        f"{cpu_s:.1f}",
    ]
