"""Arrays of one layer for the compiled descent."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from moeplace.clock import wall
from moeplace.placement.evaluate import slot_compute_s

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from moeplace.placement import Problem


UNLIMITED = np.iinfo(np.int64).max // 2


@dataclass(frozen=True, eq=False)
class SearchTerms:
    """What does not change from layer to layer.

    Attributes
    ----------
    set_start, set_of_rank
        Compressed rows: destination sets of each rank.
    link_seconds, link_group
        (rows, sets) objective per touch and token of each link, in the groups whose maxima add.
    linear
        (sets,) objective per touch and token.
    """

    set_start: NDArray[np.int64]
    set_of_rank: NDArray[np.int64]
    link_seconds: NDArray[np.float64]
    link_group: NDArray[np.int64]
    linear: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Descent:
    """Where a descent ended.

    Attributes
    ----------
    row
        (slots,) the layer's slots.
    value
        The layer's objective as the search kept it: without the constants of ``time`` (kernel
        floors, α, latency), exact for dispatch ``even``.
    tries
        Moves whose communication was worked out.
    """

    row: NDArray[np.int32]
    value: float
    tries: int


@dataclass(frozen=True, eq=False)
class LayerTask:
    """One descent, complete in itself, so that any worker can do it.

    Attributes
    ----------
    layer
        Which layer this is.
    arguments
        Of :func:`~moeplace.formulations.heuristics.search_kernels.descend`.
    deadline
        Clock time after which the descent is not begun, None for none.
    """

    layer: int
    arguments: tuple[Any, ...]
    deadline: float | None = None


def search_terms(problem: Problem) -> SearchTerms:
    """Return the communication part of the objective as linear functions of the touches.

    Exact where sources do not matter (dispatch ``even``); for other policies a guide only.
    """
    plan = problem.plan
    rank, number = np.nonzero(plan.members.T)
    start = np.zeros(problem.num_ranks + 1, np.int64)
    np.cumsum(np.bincount(rank, minlength=problem.num_ranks), out=start[1:])
    linear = np.zeros(plan.num_sets)
    link_seconds = np.zeros((0, plan.num_sets))
    group = np.zeros(0, np.int64)
    if problem.objective == "time":
        scale = problem.tokens * problem.system.in_situ_factor
        link_seconds = np.vstack(
            [
                scale * size * use / plan.topology.bandwidth_Bps[:, None]
                for use, size in zip(
                    plan.uniform_use,
                    problem.system.copy_bytes(problem.model.payload_size),
                    strict=True,
                )
            ]
        )
        group = np.repeat(np.arange(2), plan.topology.num_links)
    elif problem.objective == "copies":
        linear = problem.tokens * plan.uniform_messages
    elif problem.objective == "hops":
        linear = problem.tokens * plan.uniform_use[0].sum(axis=0)
    return SearchTerms(start, number.astype(np.int64), link_seconds, group, linear)


def layer_task(
    problem: Problem,
    terms: SearchTerms,
    layer: int,
    row: NDArray[np.int32],
    *,
    seed: int,
    passes: int,
    max_tries: int,
    seconds: float | None = None,
) -> LayerTask:
    """Return the descent from a layer's slots `row`, to be begun within `seconds`.

    Parameters
    ----------
    row
        (slots,) a feasible layer with the problem's slots per rank.
    seed
        Orders the moves, together with the layer's number.
    passes, max_tries
        Effort, see :func:`~moeplace.formulations.heuristics.search_kernels.descend`.
    """
    share = problem.load_share[layer]
    copies = np.arange(1, min(problem.num_ranks, problem.redundant + 1) + 1)
    split = share[:, None] / copies[None, :]
    if problem.objective == "time":
        cost = slot_compute_s(problem, split)
    elif problem.objective == "balance":
        cost = split * float(problem.tokens * problem.top_k)
    else:
        cost = np.zeros_like(split)
    ids, weight, start, tokens = token_index(problem, layer)
    current = np.ones((problem.num_experts, problem.num_ranks), np.bool_)
    if problem.current is not None:
        current = problem.current.replicas_on_rank[layer] > 0
    budget = UNLIMITED if problem.max_moves is None else problem.max_moves
    rng = np.random.default_rng([seed, layer])
    orders = np.array([rng.permutation(row.size) for _ in range(passes)], np.int64)
    table = row.reshape(problem.num_ranks, problem.slots_per_rank).copy()
    arguments = (
        table,
        problem.num_experts,
        problem.max_replicas,
        cost,
        problem.top_k * share,
        ids,
        weight,
        start,
        tokens,
        terms.set_start,
        terms.set_of_rank,
        terms.link_seconds,
        terms.link_group,
        terms.linear,
        current,
        problem.move_price_s if problem.objective == "time" else 0.0,
        budget,
        orders,
        max_tries,
    )
    return LayerTask(layer, arguments, None if seconds is None else wall() + seconds)


def run_task(task: LayerTask) -> Descent | None:
    """Descend, or return None if it is too late to begin."""
    from moeplace.formulations.heuristics.search_kernels import descend

    if task.deadline is not None and wall() >= task.deadline:
        return None
    improved, value, tries = descend(*task.arguments)
    return Descent(improved.reshape(-1), float(value), int(tries))


def token_index(
    problem: Problem, layer: int
) -> tuple[NDArray[np.int32], NDArray[np.float64], NDArray[np.int64], NDArray[np.int32]]:
    """Return token sets, their weights, and which of them contain each expert."""
    sets = problem.workload.token_sets
    if problem.dedup == "none" or problem.objective == "balance" or sets is None:
        empty = np.zeros(0, np.int32)
        starts = np.zeros(problem.num_experts + 1, np.int64)
        return empty.reshape(0, problem.top_k), np.zeros(0), starts, empty
    ids = np.ascontiguousarray(sets[layer].ids, np.int32)
    token, k = np.nonzero(ids >= 0)
    expert = ids[token, k]
    order = np.argsort(expert, kind="stable")
    start = np.zeros(problem.num_experts + 1, np.int64)
    np.cumsum(np.bincount(expert, minlength=problem.num_experts), out=start[1:])
    weight = np.asarray(sets[layer].weight, float)
    return ids, weight / weight.sum(), start, token[order].astype(np.int32)
