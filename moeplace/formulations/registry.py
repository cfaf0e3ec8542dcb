"""Names of solvers, listed without importing any of them."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, cast

from moeplace.errors import UsageError, unknown_name
from moeplace.formulations.peers.catalog import PEERS
from moeplace.formulations.solver import ALL_OBJECTIVES, KINDS, SolverInfo
from moeplace.plugins import load_plugins

if TYPE_CHECKING:
    from collections.abc import Sequence

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


_SHIPPED = frozenset(SOLVERS)
_REGISTERED: dict[str, Solver] = {}


def register_solver(
    name: str,
    solver: Solver | str,
    *,
    kind: str = "heuristic",
    summary: str = "",
    objectives: Sequence[str] = ALL_OBJECTIVES,
    feasible: bool = True,
    needs: Sequence[str] = (),
    backend: str = "",
    reference: str = "",
) -> None:
    """Make a solver of your own known by a name, like those that come with the package.

    Parameters
    ----------
    name
        What ``solver=`` and ``--solver`` call it. Registering a name again replaces your solver.
    solver
        ``f(problem, run, initial) -> Solved``, see :class:`moeplace.formulations.solver.Solver`,
        or ``"module:function"``, which is imported when it is first used.
    kind
        ``baseline``, ``heuristic``, ``exact`` or ``peer``.
    summary
        One line for people; the first line of the function's docstring if left out.
    objectives
        The objectives it takes.
    feasible
        False if its placement may hold an expert twice on a rank.
    needs
        What the workload must know beyond loads: ``"token_sets"``, ``"transition"``.
    backend
        The optional package it needs.
    reference
        Paper or project that describes the method.

    Raises
    ------
    UsageError
        If the name belongs to the package, or the kind or an objective does not exist.
    """
    if name in _SHIPPED:
        raise UsageError(f"solver {name!r} comes with moeplace; register yours under another name")
    if kind not in KINDS:
        raise UsageError(f"solver {name!r}: kind is {kind!r}; known: {', '.join(KINDS)}")
    if strange := [goal for goal in objectives if goal not in ALL_OBJECTIVES]:
        known = ", ".join(ALL_OBJECTIVES)
        raise UsageError(f"solver {name!r}: no objective {strange[0]!r}; known: {known}")
    target = solver if isinstance(solver, str) else f"{solver.__module__}:{name}"
    if not isinstance(solver, str):
        _REGISTERED[name] = solver
        summary = summary or (solver.__doc__ or "").strip().split("\n")[0]
    else:
        _REGISTERED.pop(name, None)
    SOLVERS[name] = SolverInfo(
        name, kind, summary, target, tuple(objectives), feasible, tuple(needs), backend, reference
    )


def unregister_solver(name: str) -> None:
    """Forget a registered solver.

    Raises
    ------
    UsageError
        If no such solver was registered.
    """
    if name in _SHIPPED or name not in SOLVERS:
        raise UsageError(f"solver {name!r} was not registered")
    del SOLVERS[name]
    _REGISTERED.pop(name, None)


def is_shipped(name: str) -> bool:
    """Return whether a solver comes with the package."""
    return name in _SHIPPED


def all_solvers() -> dict[str, SolverInfo]:
    """Return all solvers by name, those of plugins included."""
    load_plugins()
    return SOLVERS


def solver_info(name: str) -> SolverInfo:
    """Return the facts about a solver.

    Raises
    ------
    InputError
        If there is no such solver.
    """
    if name not in SOLVERS and name not in all_solvers():
        raise unknown_name("solver", name, SOLVERS, "moeplace solvers")
    return SOLVERS[name]


def load_solver(name: str) -> Solver:
    """Import and return a solver's function."""
    info = solver_info(name)
    if name in _REGISTERED:
        return _REGISTERED[name]
    module, function = info.target.split(":")
    return cast("Solver", getattr(import_module(module), function))
