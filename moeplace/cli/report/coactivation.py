"""How much more often two ranks, or two experts, serve one token than chance would have it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from moeplace.placement import Placement, Problem

MOST_GROUPS = 48  # rows of the heat map by rank; more ranks are taken together
MOST_BYTES = 300_000  # of the heat maps by expert, before they are deflated
LIMIT = 2.0  # log2 of the lift is shown between −2 and 2


def groups_of_ranks(ranks: int) -> NDArray[np.int64]:
    """Return (ranks,) the row of each rank in the heat map; neighbors share one if many."""
    return np.arange(ranks) // -(-ranks // MOST_GROUPS)


def pairs_of(problem: Problem) -> NDArray[np.float64] | None:
    """Return (layers, experts, experts) tokens that use both, None if only loads are known."""
    if problem.workload.token_sets is None or problem.top_k < 2:
        return None
    return problem.workload.coactivation()


def rank_lift(
    problem: Problem, placement: Placement, pairs: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return (layers, groups, groups) log2 of pairs found over pairs expected, within ±2.

    Expected is what the loads alone say: the product of two experts' loads, scaled so that all
    pairs add up to those found. Replicas of an expert share it evenly. One more token is added to
    both, so that pairs which are hardly expected do not stand out; where nothing is expected the
    entry is 0.
    """
    group = groups_of_ranks(problem.num_ranks)
    count = int(group[-1]) + 1
    member = np.zeros((problem.num_ranks, count))
    member[np.arange(problem.num_ranks), group] = 1
    lift = np.zeros((problem.num_layers, count, count))
    for layer in range(problem.num_layers):
        share = placement.replicas_on_rank[layer] / placement.replica_count[layer][:, None]
        on_group = share @ member
        found = on_group.T @ pairs[layer] @ on_group
        expected = on_group.T @ _expected(problem, pairs, layer) @ on_group
        lift[layer] = _log_ratio(found, expected, _token(problem, layer))
    return lift


def expert_lift(problem: Problem, pairs: NDArray[np.float64], layer: int) -> NDArray[np.float64]:
    """Return (experts, experts) the same by expert in one layer; the diagonal is 0."""
    expected = _expected(problem, pairs, layer)
    return _log_ratio(pairs[layer], expected, _token(problem, layer))


def detailed_layers(problem: Problem, slowest: int) -> list[int]:
    """Return the rows whose heat map by expert fits in a page: the slowest, others evenly."""
    size = problem.num_experts * (problem.num_experts + 1) // 2
    room = max(1, min(problem.num_layers, MOST_BYTES // size))
    even = np.unique(np.linspace(0, problem.num_layers - 1, room).round().astype(int))
    rows = set(even.tolist())
    if slowest not in rows:
        rows.remove(min(rows, key=lambda row: abs(row - slowest)))
        rows.add(slowest)
    return sorted(rows)


def _expected(problem: Problem, pairs: NDArray[np.float64], layer: int) -> NDArray[np.float64]:
    load = pairs[layer].sum(axis=1)
    expected = np.outer(load, load)
    np.fill_diagonal(expected, 0.0)
    total = expected.sum()
    return expected * (pairs[layer].sum() / total) if total > 0 else expected


def _token(problem: Problem, layer: int) -> float:
    """Return what one token weighs: the mean weight of a token set, 1 where they are counts."""
    sets = problem.workload.token_sets
    return float(sets[layer].weight.mean()) if sets is not None else 1.0


def _log_ratio(
    found: NDArray[np.float64], expected: NDArray[np.float64], token: float
) -> NDArray[np.float64]:
    """Return log2 of the ratio, both with one more token, within the limits."""
    ratio = np.where(expected > 0, (found + token) / (expected + token), 1.0)
    lift: NDArray[np.float64] = np.clip(np.log2(ratio), -LIMIT, LIMIT)
    return lift
