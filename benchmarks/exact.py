"""What can be proven optimal, in how many seconds, and how fast programs are built."""

from __future__ import annotations

import os
import time
from importlib import import_module
from typing import TYPE_CHECKING

import numpy as np

import moeplace
from benchmarks.data import data_file
from benchmarks.timing import table
from moeplace.formulations.exact import clique_cut
from moeplace.formulations.exact.clique import BACKENDS
from moeplace.formulations.exact.linear_model import INTEGER, ModelBuilder, terms
from moeplace.formulations.flow import cheapest_assignment
from moeplace.formulations.qap import read_qaplib, solve_qap_exact
from moeplace.formulations.registry import load_solver
from moeplace.formulations.solver import Run
from moeplace.placement import Problem, evaluate, make_problem
from moeplace.traces import TokenSets, Workload

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

    from moeplace.formulations.exact.linear_model import LinearModel

LIMIT_S = 60.0
SOLVERS = ("exact-milp", "exact-cpsat", "exact-pulp")
HEADERS = ["instance", "method", "value", "bound", "status", "s", "cpu s"]


def report(quick: bool) -> str:
    """Return the table of proofs."""
    rows = []
    for experts, ranks in ((16, 4),) if quick else ((32, 8), (32, 4)):
        weight = coactivation(experts)
        name = f"clique cut, {experts} experts on {ranks} ranks"
        rows += [
            _row(name, backend, lambda w=weight, r=ranks, b=backend: _clique(w, r, b))
            for backend in BACKENDS[: 1 if quick else 2]
        ]
    rows += _min_max(quick)
    for name, problem in (
        ("copies, 16 experts, top-2, 4 ranks, 200 tokens", _sixteen("copies")),
        ("time, 16 experts on a 2 x 2 mesh, 200 tokens", _sixteen("time")),
    ):
        for solver in SOLVERS[1:2] if quick else SOLVERS:
            rows.append(_row(name, solver, lambda p=problem, s=solver: _solved(p, s)))
    for name in ("nug12",) if quick else ("nug12", "tai12a", "nug15", "scr20"):
        data = data_file(f"qaplib/{name}.dat")
        if data is not None:
            rows.append(_row(f"QAP {name}", "branch and bound", lambda d=data: _qap(d)))
    rows.append(_transport(quick))
    return table(HEADERS, rows)


def coactivation(experts: int) -> NDArray[np.float64]:
    """Return pairs used together by 4,000 tokens with four experts each, of eight topics."""
    rng = np.random.default_rng(0)
    popular = np.sqrt(rng.zipf(1.6, experts).clip(1, 30))
    topic = rng.gamma(0.35, size=(8, experts))
    weight = np.zeros((experts, experts))
    for _ in range(4000):
        appeal = popular * topic[rng.integers(8)] + 1e-3
        ids = np.argsort(rng.exponential(size=experts) / appeal)[:4]
        weight[np.ix_(ids, ids)] += 1
    np.fill_diagonal(weight, 0.0)
    return weight


def _row(name: str, method: str, run: Callable[[], tuple[float, float, str]]) -> list[str]:
    started, busy = time.perf_counter(), _cpu()
    value, bound, status = run()
    wall, cpu = time.perf_counter() - started, _cpu() - busy
    return [name, method, f"{value:.7g}", f"{bound:.7g}", status, f"{wall:.1f}", f"{cpu:.1f}"]


def _cpu() -> float:
    """Return processor seconds, those of solvers that run as programs included."""
    used = os.times()
    return used.user + used.system + used.children_user + used.children_system


def _clique(weight: NDArray[np.float64], ranks: int, backend: str) -> tuple[float, float, str]:
    found = clique_cut(weight, ranks, backend=backend, time_limit_s=LIMIT_S)
    return found.cut, found.lower_bound, found.status


def _qap(data: Path) -> tuple[float, float, str]:
    found = solve_qap_exact(*read_qaplib(data), time_limit_s=LIMIT_S)
    return found.cost, found.lower_bound or 0.0, found.status


def _solved(problem: Problem, solver: str) -> tuple[float, float, str]:
    found = load_solver(solver)(problem, Run(time_limit_s=LIMIT_S), None)
    if found.placement is None:
        return float("nan"), found.lower_bound or 0.0, "none"
    value = evaluate(problem, found.placement).objective
    bound = found.lower_bound or 0.0
    return value, bound, "optimal" if value - bound <= 1e-6 * value else "feasible"


def _sixteen(objective: str) -> Problem:
    """Return 16 experts of Phi-3.5-MoE, two for each of 200 drawn tokens."""
    rng = np.random.default_rng(0)
    popular, topic = rng.gamma(1.0, size=16) + 0.05, rng.random((4, 16))
    drawn = [
        np.sort(
            np.argsort(rng.exponential(size=16) / (popular * (topic[rng.integers(4)] + 0.1)))[:2]
        )
        for _ in range(200)
    ]
    ids, count = np.unique(drawn, axis=0, return_counts=True)
    sets = TokenSets(ids.astype(np.int32), count.astype(float))
    model = moeplace.load_model("phi-3.5-moe").replace(num_layers=1, moe_layers=(0,))
    bare = Workload.from_loads(sets.load(16)[None], top_k=2, phase="prefill")
    return make_problem(
        model,
        moeplace.load_system("mesh:2x2"),
        bare.with_token_sets([sets], "synthetic"),
        objective=objective,
        dedup="rank",
    )


def _min_max(quick: bool) -> list[list[str]]:
    """Return one row: all layers of DeepSeek-V2-Lite, each with the limit for itself."""
    trace = data_file("deepseek_v2_lite_trace.npz")
    if trace is None:
        return []
    workload = Workload.from_trace(moeplace.load_trace(trace))
    model = moeplace.load_model("deepseek-v2-lite")
    system = moeplace.load_system("h100-sxm", 8)
    rows = []
    for solver in SOLVERS[:1] if quick else SOLVERS:
        proven, seconds, cpu = 0, [], 0.0
        layers = range(0, workload.num_layers, 13 if quick else 1)
        for layer in layers:
            one = Workload.from_loads(workload.load[layer : layer + 1], top_k=6)
            problem = make_problem(
                model.replace(num_layers=1, moe_layers=(0,)), system, one, 8, "balance", "none"
            )
            started, busy = time.perf_counter(), _cpu()
            status = _solved(problem, solver)[2]
            seconds.append(time.perf_counter() - started)
            cpu += _cpu() - busy
            proven += status == "optimal"
        rows.append(
            [
                "min-max load, DeepSeek-V2-Lite, 64 experts + 8 on 8 ranks",
                solver,
                f"{proven} of {len(layers)} layers",
                f"worst layer {max(seconds):.1f} s",
                "optimal" if proven == len(layers) else "partly",
                f"{sum(seconds):.1f}",
                f"{cpu:.1f}",
            ]
        )
    return rows


def _transport(quick: bool) -> list[str]:
    layers = 6 if quick else 58
    cost = np.random.default_rng(0).random((layers, 256, 32))

    def run() -> tuple[float, float, str]:
        value = float(cheapest_assignment(cost, 8).value.sum())
        return value, value, "optimal"

    return _row(f"linear costs, {layers} layers, 256 experts on 32 ranks", "assignment", run)


def report_build(quick: bool) -> str:
    """Return the time to build a program from arrays and to hand it to each backend."""
    rows = []
    for size in (10_000,) if quick else (10_000, 100_000):
        started = time.process_time()
        program = _covering(size)
        built = time.process_time() - started
        program_name = f"{size:,} x {size:,}, {program.matrix.nnz:,} entries"
        rows.append([program_name, "arrays", f"{built:.2f}"])
        for backend, load in (("CP-SAT", _cpsat), ("PuLP", _pulp), ("SciPy", _scipy)):
            started = time.process_time()
            load(program)
            rows.append(["", f"arrays to {backend}", f"{time.process_time() - started:.2f}"])
    return table(["program", "step", "cpu s"], rows)


def _covering(size: int) -> LinearModel:
    rng = np.random.default_rng(0)
    builder = ModelBuilder()
    x = builder.columns(size, INTEGER)
    builder.constrain(
        terms(np.arange(size)[:, None], x[rng.integers(0, size, (size, 3))], 1.0, size), lower=1.0
    )
    return builder.build(terms(np.zeros(size), x, rng.integers(1, 9, size), 1))


def _cpsat(program: LinearModel) -> None:
    from ortools.sat.python import cp_model

    folder = "moeplace.formulations.exact.cpsat"
    variables, constraints = (
        import_module(f"{folder}.{name}") for name in ("variables", "constraints")
    )
    scale = variables.scales(program)
    model = cp_model.CpModel()
    made = variables.create_variables(model, program, scale)
    constraints.add_constraints(model, constraints.whole_rows(program, scale), made)


def _pulp(program: LinearModel) -> None:
    import pulp

    folder = "moeplace.formulations.exact.pulp"
    variables, constraints = (
        import_module(f"{folder}.{name}") for name in ("variables", "constraints")
    )
    model = pulp.LpProblem("built", pulp.LpMinimize)
    constraints.add_constraints(model, program, variables.create_variables(program))


def _scipy(program: LinearModel) -> None:
    folder = "moeplace.formulations.exact.milp"
    for name, function in (("variables", "create_variables"), ("constraints", "add_constraints")):
        getattr(import_module(f"{folder}.{name}"), function)(program)
