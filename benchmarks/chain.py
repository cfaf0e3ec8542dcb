"""Tokens that stay with their main expert: how many can, and what exact mappings cost."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

import moeplace
from benchmarks.data import data_file
from benchmarks.timing import table
from moeplace.formulations.bounds.stay import local_bound
from moeplace.formulations.chain import solve_chain
from moeplace.formulations.chain.prices import prices
from moeplace.formulations.chain.sweep import renamed
from moeplace.formulations.peers.moetuner import cluster_flow
from moeplace.hwmodels.topology import mesh
from moeplace.traces import Workload, default_trace, load_trace

if TYPE_CHECKING:
    from collections.abc import Callable

    from moeplace import Placement, Problem, RoutingTrace

MODEL = "deepseek-v2-lite"
RANKS = (4, 6, 8)


@dataclass(frozen=True)
class _Run:
    name: str
    placement: Placement
    cpu_s: float


def report(quick: bool) -> str:
    """Return tables: what stays on 4, 6 and 8 ranks, and exact mappings of 26 layers."""
    trace = _trace(quick)
    fit, held = trace.split(0.5)
    parts = [f"{trace.name}: {fit.num_tokens:,} tokens to fit, {held.num_tokens:,} held out."]
    rows = []
    for ranks in RANKS[:1] if quick else RANKS:
        rows += _staying(fit, held, ranks)
    headers = [
        "objective `copies`, dedup `rank`",
        "same rank next, fit",
        "held out",
        "copies / token, fit",
        "held out",
        "CPU s",
    ]
    parts += [table(headers, rows), _mapping(fit, quick)]
    return "\n\n".join(parts)


def _trace(quick: bool) -> RoutingTrace:
    whole = None if quick else data_file("deepseek_v2_lite_trace.npz")
    if whole is not None:
        return load_trace(whole, num_experts=64)
    shipped = default_trace(MODEL)
    if shipped is None:
        raise SystemExit(f"no trace of {MODEL} is shipped")
    return shipped


def _problem(fit: RoutingTrace, ranks: int) -> Problem:
    return moeplace.make_problem(
        moeplace.load_model(MODEL),
        moeplace.load_system("h100-sxm", ranks),
        Workload.from_trace(fit, anchored=True),
        objective="copies",
        dedup="rank",
        execution="stay",
    )


def _staying(fit: RoutingTrace, held: RoutingTrace, ranks: int) -> list[list[str]]:
    problem = _problem(fit, ranks)
    other = problem.with_workload(Workload.from_trace(held, anchored=True))
    alone = problem.replace(execution="return")
    moeplace.solve(problem.replace(workload=problem.workload.select_layers([0, 1])), "chain")

    def solved(name: str, on: Problem) -> Placement:
        placement = moeplace.solve(on, name).placement
        if placement is None:
            raise SystemExit(f"{name} found no placement")
        return placement

    runs = [
        _timed("contiguous", lambda: solved("contiguous", problem)),
        _timed("each layer for itself (auto, return)", lambda: solved("auto", alone)),
    ]
    apart = runs[1]
    named = _timed("the same, ranks renamed", lambda: _renamed(problem, apart.placement))
    runs += [
        _Run(named.name, named.placement, named.cpu_s + apart.cpu_s),
        _timed("chain", lambda: solved("chain", problem)),
        _timed("exflow", lambda: solved("exflow", problem)),
        _timed("moetuner", lambda: solved("moetuner", problem)),
    ]
    rows = []
    for run in runs:
        cells = [f"{_same_rank(p.workload, run.placement):.4f}" for p in (problem, other)]
        copies = [moeplace.evaluate(p, run.placement).copies_per_token for p in (problem, other)]
        cells += [f"{value:.3f}" for value in copies]
        rows.append([f"{ranks} ranks, {run.name}", *cells, f"{run.cpu_s:.1f}"])
    most = _most(problem)
    least = moeplace.lower_bound(problem).value / problem.tokens / problem.num_layers
    rows.append([f"{ranks} ranks, proven limit", f"{most:.4f}", "", f"{least:.3f}", "", ""])
    return rows


def _timed(name: str, method: Callable[[], Placement]) -> _Run:
    started = time.process_time()
    placement = method()
    return _Run(name, placement, time.process_time() - started)


def _renamed(problem: Problem, placement: Placement) -> Placement:
    return renamed(problem, placement, prices(problem), 0)


def _same_rank(workload: Workload, placement: Placement) -> float:
    """Return the share of transitions between main experts on one rank."""
    follow = workload.transition()
    holds = (placement.replicas_on_rank > 0).astype(float)
    return float(np.einsum("ler,lef,lfr->", holds[:-1], follow, holds[1:]) / follow.sum())


def _most(problem: Problem) -> float:
    follow = problem.workload.transition()
    ranks, slots = problem.num_ranks, problem.slots_per_rank
    return sum(local_bound(pair, ranks, slots) for pair in follow) / float(follow.sum())


def _mapping(fit: RoutingTrace, quick: bool) -> str:
    """Return a table: contiguous clusters of 26 layers onto a mesh and onto two nodes."""
    follow = Workload.from_trace(fit).transition()
    rows = []
    for ranks in (4,) if quick else (4, 6):
        cluster = np.tile(np.arange(64) * ranks // 64, (follow.shape[0] + 1, 1))
        flow = cluster_flow(follow, cluster, ranks) / follow.sum() * follow.shape[0]
        hops = mesh(2, ranks // 2, bandwidth_Bps=1.0, latency_s=0.0).hops().astype(float)
        node = np.arange(ranks) // (ranks // 2)
        tiers = np.where(node[:, None] == node, 0.1, 1.0) * (1 - np.eye(ranks))
        for what, distance, combine in (
            (f"hops on a 2 × {ranks // 2} mesh, sum", hops, "sum"),
            ("two nodes, largest transfer (MoETuner)", tiers, "max"),
        ):
            for method in ("viterbi", "alternating", *(("milp",) if ranks == 4 else ())):
                started = time.process_time()
                limit = 10.0 if method == "milp" else None
                found = solve_chain(
                    flow, distance, combine=combine, method=method, time_limit_s=limit
                )
                spent = time.process_time() - started
                gap = 1 - found.lower_bound / found.cost if found.cost else 0.0
                rows.append(
                    [
                        f"{ranks} clusters, {what}",
                        method,
                        f"{found.cost:.4f}",
                        "optimal" if found.optimal else f"gap {gap:.1%}",
                        f"{spent:.2f}",
                    ]
                )
    return table(["26 layers, contiguous clusters", "method", "cost", "proven", "CPU s"], rows)
