"""The limit on the fullest rank: what it serves, in mean rank loads."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from moeplace.placement.evaluate import slot_shares

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from moeplace.placement.placement import Placement
    from moeplace.placement.problem import Problem
    from moeplace.placement.score import Score

CAP_TOLERANCE = 1e-9  # shares are sums of rounded numbers


def imbalance(rank_load: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return (layers,) largest / mean rank load, 1 where nothing is served.

    Parameters
    ----------
    rank_load
        (layers, ranks) in any unit.
    """
    mean, most = rank_load.mean(axis=1), rank_load.max(axis=1)
    found: NDArray[np.float64] = np.divide(most, mean, out=np.ones_like(most), where=mean > 0)
    return found


def layer_imbalance(problem: Problem, placement: Placement) -> NDArray[np.float64]:
    """Return (layers,) largest / mean rank load as ``evaluate`` counts it, without the rest.

    Of a problem with scenarios, the largest of theirs.

    Parameters
    ----------
    placement
        Every expert has a replica.
    """
    if problem.scenarios:
        found = np.array([layer_imbalance(scenario, placement) for scenario in problem.scenarios])
        worst: NDArray[np.float64] = found.max(axis=0)
        return worst
    rank_load = np.zeros((problem.num_layers, problem.num_ranks))
    for layer in range(problem.num_layers):
        rank_load[layer] = np.bincount(
            placement.rank_of_slot,
            weights=slot_shares(problem, placement, layer),
            minlength=problem.num_ranks,
        )
    return imbalance(rank_load)


def layer_overload(
    problem: Problem, placement: Placement, score: Score | None = None
) -> NDArray[np.float64]:
    """Return (layers,) by how many mean rank loads the fullest rank exceeds the limit, else 0.

    Parameters
    ----------
    placement
        Every expert has a replica.
    score
        What ``evaluate`` returned for the placement, if it is at hand.
    """
    if problem.max_load is None:
        return np.zeros(problem.num_layers)
    if score is not None and not problem.scenarios:
        found = imbalance(score.rank_load)
    else:
        found = layer_imbalance(problem, placement)
    over: NDArray[np.float64] = found - problem.max_load
    over[over <= CAP_TOLERANCE * problem.max_load] = 0.0
    return over


def overloads(problem: Problem, placement: Placement) -> list[str]:
    """Return one line for every layer whose fullest rank exceeds the limit."""
    if problem.max_load is None:
        return []
    layers = problem.workload.layer_ids or tuple(range(problem.num_layers))
    over = layer_overload(problem, placement)
    return [
        f"layer {layers[row]}: the fullest rank serves {problem.max_load + over[row]:.4f} mean "
        f"rank loads, at most {problem.max_load:g} allowed"
        for row in np.flatnonzero(over)
    ]
