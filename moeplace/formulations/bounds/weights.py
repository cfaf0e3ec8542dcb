"""What a touched rank or node costs, so that touches and compute time are bounded together."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from moeplace.formulations.bounds.communication import MARGIN, spread_dual, touch_bounds
from moeplace.formulations.bounds.compute import compute_bounds
from moeplace.formulations.bounds.touched import Coupling, parts_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from moeplace.formulations.bounds.communication import Spread, TouchBounds
    from moeplace.placement import Problem

GUESS = 0.8  # touches of good placements over those of random ones, for the first prices only


def sources_matter(problem: Problem) -> bool:
    """Return whether the replica that serves a token depends on where the token is."""
    return problem.dispatch in ("nearest", "rank_modulo") and problem.redundant > 0


def levels_that_matter(problem: Problem) -> tuple[str, ...]:
    """Return the levels whose touches enter the objective: ranks, nodes, both or none."""
    if problem.objective == "balance" or problem.execution == "stay" or problem.dedup == "none":
        return ()
    if problem.workload.token_sets is None or problem.num_ranks == 1:
        return ()
    if problem.dedup != "node":
        return ("ranks",)
    nodes = ("nodes",) if problem.plan.topology.num_nodes > 1 else ()
    if problem.objective == "time" and nodes:
        slope = {level: seconds_per_touch(problem, level) for level in ("ranks", "nodes")}
        return ("nodes",) if slope["nodes"] > 0 or sources_matter(problem) else ("ranks",)
    return ("ranks", *nodes)


def coupling_of(problem: Problem, level: str) -> Coupling | None:
    """Return what couples touches with compute time; None for other objectives."""
    if problem.objective != "time" or sources_matter(problem):
        return None
    if problem.redundant and problem.dispatch not in ("even", "lp"):
        return None
    stacked = np.array(list(compute_bounds(problem).values()))
    least = stacked.max(axis=0) - problem.compute_constants[0]
    return Coupling(np.maximum(least, 0.0), seconds_per_touch(problem, level))


def seconds_per_touch(problem: Problem, level: str) -> float:
    """Return what another touched rank or node of a token adds to dispatch and combine."""
    total = 0.0
    for dual in _duals(problem, guessed_touches(problem)):
        slope = dual.per_rank_touch if level == "ranks" else dual.per_node_touch
        total += problem.system.in_situ_factor * slope * (1 - MARGIN)
    return total


def link_seconds(problem: Problem, name: str) -> NDArray[np.float64]:
    """Return (links, sets) seconds that a touch of a set puts on a link in a step."""
    sizes = problem.system.copy_bytes(problem.model.payload_size)
    number = ("dispatch", "combine").index(name)
    use = problem.plan.uniform_use[number]
    seconds: NDArray[np.float64] = (
        problem.tokens * sizes[number] * use / problem.plan.topology.bandwidth_Bps[:, None]
    )
    return seconds


def guessed_touches(problem: Problem) -> TouchBounds:
    """Return touches near those of a good placement; prices made for them are valid for any."""
    least = touch_bounds(problem)
    k = problem.top_k

    def guess(level: str) -> float:
        count = parts_of(problem, level).parts
        return GUESS * count * (1 - (1 - 1 / count) ** k)

    return replace(
        least,
        ranks=np.maximum(least.ranks, guess("ranks")),
        nodes=np.maximum(least.nodes, guess("nodes")) if problem.dedup == "node" else least.nodes,
    )


def _duals(problem: Problem, touches: TouchBounds) -> list[Spread]:
    none = np.zeros(problem.plan.num_sets)
    return [
        spread_dual(problem, touches, link_seconds(problem, name), none)
        for name in ("dispatch", "combine")
    ]
