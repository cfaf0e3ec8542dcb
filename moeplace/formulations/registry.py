"""Names of solvers, listed without importing any of them."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, cast

from moeplace.errors import unknown_name
from moeplace.formulations.peers.catalog import PEERS
from moeplace.formulations.solver import SolverInfo

if TYPE_CHECKING:
    from moeplace.formulations.solver import Solver

_HEURISTICS = "moeplace.formulations.heuristics"
_EXACT = "moeplace.formulations.exact"
_EPLB = "DeepSeek EPLB, deepseek-ai/EPLB README (2025)"

SOLVERS: dict[str, SolverInfo] = {
    info.name: info
    for info in (
        SolverInfo(
            "auto",
            "heuristic",
            "Best of several starts, then swap, move, replicate and retire on the true objective",
            f"{_HEURISTICS}.portfolio:auto",
        ),
        SolverInfo(
            "local-search",
            "heuristic",
            "Descent on the true objective from one start (contiguous unless given)",
            f"{_HEURISTICS}.portfolio:local_search",
        ),
        SolverInfo(
            "partition",
            "heuristic",
            "Few ranks per token: hypergraph partition by annealing on λ, no replicas",
            "moeplace.formulations.partition.solver:partition_layers",
            objectives=("copies",),
            needs=("token_sets",),
        ),
        SolverInfo(
            "chain",
            "heuristic",
            "For tokens that stay with their main expert: ranks renamed and experts exchanged "
            "along the layers",
            "moeplace.formulations.chain.solver:chain",
        ),
        SolverInfo(
            "lpt",
            "heuristic",
            "Greedy replicas, then longest processing time with a slot cap, no duplicates",
            f"{_HEURISTICS}.lpt:lpt",
            reference="Graham, SIAM J. Appl. Math. 17 (1969)",
        ),
        SolverInfo(
            "contiguous",
            "baseline",
            "Experts in order, the same number on every rank (what engines load by default)",
            f"{_HEURISTICS}.simple:contiguous",
        ),
        SolverInfo(
            "round-robin",
            "baseline",
            "Expert e on rank e mod R",
            f"{_HEURISTICS}.simple:round_robin",
        ),
        SolverInfo(
            "random",
            "baseline",
            "A random permutation in every layer",
            f"{_HEURISTICS}.simple:random",
        ),
        SolverInfo(
            "eplb",
            "baseline",
            "EPLB with its own rule: hierarchical if the groups divide over the nodes, else global",
            f"{_HEURISTICS}.eplb:eplb",
            feasible=False,
            reference=_EPLB,
        ),
        SolverInfo(
            "eplb-global",
            "baseline",
            "EPLB, global policy",
            f"{_HEURISTICS}.eplb:eplb_global",
            feasible=False,
            reference=_EPLB,
        ),
        SolverInfo(
            "eplb-hierarchical",
            "baseline",
            "EPLB, hierarchical policy: expert groups packed onto nodes first",
            f"{_HEURISTICS}.eplb:eplb_hierarchical",
            feasible=False,
            reference=_EPLB,
        ),
        SolverInfo(
            "exact-cpsat",
            "exact",
            "Proven optimum of every objective, small instances, CP-SAT in whole numbers",
            f"{_EXACT}.cpsat.model:solve",
            backend="ortools",
        ),
        SolverInfo(
            "exact-pulp",
            "exact",
            "Proven optimum of every objective, small instances, MILP by PuLP and CBC",
            f"{_EXACT}.pulp.model:solve",
            backend="pulp",
        ),
        SolverInfo(
            "exact-milp",
            "exact",
            "Proven optimum of every objective, small instances, MILP by SciPy's HiGHS",
            f"{_EXACT}.milp.model:solve",
            backend="scipy",
        ),
        *PEERS,
    )
}


def solver_info(name: str) -> SolverInfo:
    """Return the facts about a solver.

    Raises
    ------
    InputError
        If there is no such solver.
    """
    if name not in SOLVERS:
        raise unknown_name("solver", name, SOLVERS, "moeplace solvers")
    return SOLVERS[name]


def load_solver(name: str) -> Solver:
    """Import and return a solver's function."""
    module, function = solver_info(name).target.split(":")
    return cast("Solver", getattr(import_module(module), function))
