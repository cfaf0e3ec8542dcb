"""Time of a layer under every solver: where it is fitted, and under loads it was not fitted on."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import moeplace
from benchmarks.data import data_file
from benchmarks.timing import table
from moeplace.errors import MoeplaceError
from moeplace.formulations.registry import SOLVERS, load_solver
from moeplace.formulations.solver import Run

if TYPE_CHECKING:
    from moeplace import Placement, Problem, Score

INSTANCES = (("wafer", None, 0), ("h100-sxm", 32, 32))
HELD_OUT = {
    "prefill": "deepseek_v3_loads/prefill_in1024.json",
    "decode": "deepseek_v3_loads/decode_in500out1500.json",
}
KINDS = ("baseline", "heuristic", "peer")
SEED = 0


def report(quick: bool) -> str:
    """Return one table per system and phase; solvers in the order of their holdout."""
    parts = []
    for hardware, ranks, redundant in INSTANCES[:1] if quick else INSTANCES:
        for phase in ("decode",) if quick else ("prefill", "decode"):
            fit, held = _instance(hardware, ranks, redundant, phase)
            size = f"{fit.num_ranks} ranks" + (f", +{redundant}" if redundant else "")
            bound = moeplace.lower_bound(fit).value
            parts.append(
                f"DeepSeek-V3 on `{hardware}`, {size}, {phase}; µs a layer; bound "
                f"{1e6 * bound / fit.num_layers:,.1f} where it is fitted."
                + ("" if held else f" Without the holdout: {HELD_OUT[phase]} is not there.")
            )
            parts.append(_table(fit, held))
    return "\n\n".join(parts)


def _instance(
    hardware: str, ranks: int | None, redundant: int, phase: str
) -> tuple[Problem, Problem | None]:
    """Return the problem, and the same under loads of requests of another length."""
    workload = moeplace.default_workloads("deepseek-v3")[phase]
    fit = moeplace.make_problem(
        moeplace.load_model("deepseek-v3"),
        moeplace.load_system(hardware, ranks=ranks),
        workload,
        redundant,
        phase=phase,
    )
    path = data_file(HELD_OUT[phase])
    if path is None:
        return fit, None
    return fit, fit.with_workload(moeplace.load_workload(path).replace(phase=phase))


def _table(fit: Problem, held: Problem | None) -> str:
    found = []
    left_out = []
    for name, info in SOLVERS.items():
        if info.kind not in KINDS or fit.objective not in info.objectives:
            continue
        started = time.process_time()
        try:
            placement = load_solver(name)(fit, Run(seed=SEED), None).placement
        except MoeplaceError as error:
            left_out.append(f"{name}: {error}")
            continue
        if placement is not None:
            found.append(_row(name, fit, held, placement, time.process_time() - started))
    found.sort(key=lambda row: row[0])
    headers = ["solver", "fitted", "dispatch", "compute", "combine", "doubled"]
    headers += ["held out", "dispatch", "compute", "combine"] if held else []
    text = table([*headers, "processor s"], [row[1] for row in found])
    if left_out:
        text += "\n\n" + "\n".join(f"- {line}" for line in left_out)
    return text


def _row(
    name: str, fit: Problem, held: Problem | None, placement: Placement, cpu_s: float
) -> tuple[float, list[str]]:
    """Return what to order by, and the cells; `doubled` layers hold an expert twice on a rank."""
    score = moeplace.evaluate(fit, placement)
    cells = [name, *_terms(score), str(int((placement.duplicates() > 0).sum()) or "")]
    order = score.step_time_s
    if held is not None:
        other = moeplace.evaluate(held, placement)
        cells += _terms(other)
        order = other.step_time_s
    return order, [*cells, f"{cpu_s:.1f}"]


def _terms(score: Score) -> list[str]:
    """Return µs a layer: all, dispatch, compute, combine."""
    scale = 1e6 / score.layer_time_s.size
    terms = (score.step_time_s, score.dispatch_s, score.compute_s, score.combine_s)
    return [f"{scale * seconds:,.1f}" for seconds in terms]
