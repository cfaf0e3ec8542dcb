"""One placement for several scenarios: solve each, solve mixtures, combine layer by layer."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from moeplace.formulations.heuristics.tables import to_placement, without_duplicates
from moeplace.formulations.solver import Run, Solved
from moeplace.placement import evaluate, layer_overload, slot_violations
from moeplace.placement.robust import mixture, scenario_weights

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from moeplace.formulations.solver import Solver
    from moeplace.placement import Placement, Problem

ROUNDS = 4  # mixtures tried after the even one
STEP = 4.0  # how strongly a scenario above the mean gains weight
SWEEPS = 20


def robust(problem: Problem, run: Run, initial: Placement | None, solver: Solver) -> Solved:
    """Minimize a risk measure over scenarios.

    Candidates come from every scenario alone and from mixtures of the scenarios, whose weights
    follow the scenarios that the last candidate served worst (multiplicative weights, Arora,
    Hazan & Kale 2012). As layers are independent, every layer may take its row from another
    candidate: coordinate descent over the layers finishes. Each solve gets an even part of the
    time that is left.
    """
    count = len(problem.scenarios)
    candidates: list[Placement] = [] if initial is None else [initial]
    if problem.current is not None and not slot_violations(problem, problem.current):
        candidates.append(problem.current)

    def add(single: Problem, parts_left: int) -> None:
        left = run.remaining_s()
        limit = None if left is None else left / max(1, parts_left)
        share = Run(run.seed, limit, workers=run.workers)
        placement = solver(single, share, None).placement
        if placement is not None and not slot_violations(problem, placement):
            candidates.append(placement)
            run.report(placement)

    for number, scenario in enumerate(problem.scenarios):
        add(scenario, count + ROUNDS + 1 - number)
    weights = np.full(count, 1 / count)
    for turn in range(ROUNDS + 1):
        if run.out_of_time():
            break
        add(_mixed(problem, weights), ROUNDS + 1 - turn)
        values = np.array([evaluate(s, candidates[-1]).objective for s in problem.scenarios])
        if problem.risk == "mean" or values.mean() <= 0:
            break
        weights = weights * np.exp(STEP * (values / values.mean() - 1))
        weights /= weights.sum()
    if not candidates:
        return Solved(None)
    overloads = [float(layer_overload(problem, c).sum()) for c in candidates]
    least = min(overloads)  # 0 if a candidate keeps the limit on load in every scenario
    best = _combine(
        problem, [c for c, over in zip(candidates, overloads, strict=True) if over <= least]
    )
    run.report(best)
    return Solved(best, limit="time" if run.out_of_time() else "")


def _mixed(problem: Problem, weights: NDArray[np.float64]) -> Problem:
    """Return the problem of one workload in which scenarios come with given weights."""
    workload = mixture([scenario.workload for scenario in problem.scenarios], weights)
    heaviest = problem.scenarios[int(weights.argmax())]
    return heaviest.replace(workload=workload)


def _combine(problem: Problem, candidates: list[Placement]) -> Placement:
    """Choose the candidate of every layer; complexity O(sweeps · layers · candidates)."""
    values = np.array(
        [[evaluate(s, c).layer_objective for s in problem.scenarios] for c in candidates]
    )  # (candidates, scenarios, layers)

    def risk(totals: NDArray[np.float64]) -> float:
        return float(scenario_weights(totals, problem.risk, problem.tail) @ totals)

    layers = np.arange(problem.num_layers)
    start = min(range(len(candidates)), key=lambda c: risk(values[c].sum(axis=1)))
    chosen = np.full(problem.num_layers, start)
    for _ in range(SWEEPS):
        before = chosen.copy()
        for layer in layers:
            rest = values[chosen, :, layers].sum(axis=0) - values[chosen[layer], :, layer]
            options = [risk(rest + values[c, :, layer]) for c in range(len(candidates))]
            if min(options) < options[chosen[layer]] * (1 - 1e-12):
                chosen[layer] = int(np.argmin(options))
        if (chosen == before).all():
            break
    tables = np.array([without_duplicates(problem, c).expert_of_slot for c in candidates])
    return to_placement(problem, tables[chosen, layers])
