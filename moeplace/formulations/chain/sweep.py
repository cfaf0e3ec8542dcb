"""Layer after layer: rename the ranks, exchange the experts, the neighbors as they are."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from moeplace.formulations.chain.solve import solve_chain
from moeplace.formulations.heuristics.tables import to_placement, without_duplicates
from moeplace.placement.stay import serving_chance, stay_use

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from moeplace.formulations.chain.prices import Prices
    from moeplace.formulations.solver import Run
    from moeplace.placement import Placement, Problem

PASSES = 12
RENAMINGS = 8


def rank_flows(
    problem: Problem, placement: Placement
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return (layers, ranks, ranks) copies a token, dispatched and combined.

    Dispatch goes from the rank of the anchor before (row 0: from the own rank) to each rank,
    combine from each rank to that of the anchor, which comes first. Copies that stay on their rank
    are counted too. Replicas count with their chances.
    """
    members = np.eye(problem.num_ranks, dtype=bool)
    shape = (problem.num_layers, problem.num_ranks, problem.num_ranks)
    dispatch, combine = np.zeros(shape), np.zeros(shape)
    before: NDArray[np.float64] | None = None
    for layer in range(problem.num_layers):
        here = serving_chance(problem, placement, layer)
        use = stay_use(problem, layer, before, here, members)
        dispatch[layer], combine[layer] = use.dispatch, use.combine
        before = here
    return dispatch, combine


def renamed(problem: Problem, placement: Placement, price: Prices, seed: int) -> Placement:
    """Give the ranks of every layer the names at which neighbors exchange least.

    Exact for ``copies`` of kernels ``none`` and ``rank``, and for ``hops`` up to six ranks. For
    ``time`` the busiest links decide, from that solution by exchanges of two names; where copies
    are merged to nodes or along a tree this is a guide.
    """
    dispatch, combine = rank_flows(problem, placement)
    labels = solve_chain(dispatch[1:], price.distance, seed=seed).labels
    if problem.objective == "time":
        labels = _by_links(problem, labels, dispatch, combine)
    table = without_duplicates(problem, placement).expert_of_slot
    blocks = table.reshape(problem.num_layers, problem.num_ranks, -1)
    moved = np.empty_like(blocks)
    np.put_along_axis(moved, labels[:, :, None], blocks, axis=1)
    return to_placement(problem, moved.reshape(problem.num_layers, -1))


def _by_links(
    problem: Problem,
    labels: NDArray[np.int64],
    dispatch: NDArray[np.float64],
    combine: NDArray[np.float64],
) -> NDArray[np.int64]:
    from moeplace.formulations.chain.rename_kernels import rename_by_links

    topology, ranks = problem.system.topology, problem.num_ranks
    sizes = problem.system.copy_bytes(problem.model.payload_size)
    latency = np.array(
        [
            [topology.latency_s[topology.route(a, b)].sum() for b in range(ranks)]
            for a in range(ranks)
        ]
    )
    whole = np.vstack([np.arange(ranks), labels])
    rename_by_links(
        whole,
        dispatch,
        combine,
        topology.route_start,
        topology.route_links,
        problem.tokens * np.array(sizes)[:, None] / topology.bandwidth_Bps,
        latency,
        RENAMINGS,
    )
    return whole[1:]


def swept(
    problem: Problem,
    placement: Placement,
    price: Prices,
    spread: float,
    run: Run,
    sweeps: int,
) -> Placement:
    """Exchange experts in all layers, there and back, until nothing falls; no replicas.

    Parameters
    ----------
    placement
        Without replicas, in the problem's slots.
    spread
        Price of a squared rank load, as a share of the whole load.
    sweeps
        Most rounds over the layers.
    """
    table = placement.expert_of_slot.reshape(
        problem.num_layers, problem.num_ranks, problem.slots_per_rank
    ).copy()
    layers = [_LayerTokens(problem, layer) for layer in range(problem.num_layers)]
    last = problem.num_layers - 1
    for _ in range(sweeps):
        gained = 0.0
        for layer in (*range(last + 1), *range(last - 1, 0, -1)):
            if run.out_of_time():
                return to_placement(problem, table.reshape(last + 1, -1))
            before = _rank_of(table[layer - 1], problem.num_experts) if layer else None
            after = np.zeros((problem.num_experts, problem.num_ranks))
            if layer < last:
                after = layers[layer + 1].price_of_source(
                    _rank_of(table[layer + 1], problem.num_experts), price.distance
                )
            gained += layers[layer].exchange(table[layer], before, after, price, spread, run.seed)
        if gained <= 1e-12:
            break
    return to_placement(problem, table.reshape(last + 1, -1))


def _rank_of(table: NDArray[np.int32], experts: int) -> NDArray[np.int64]:
    """Return (experts,) the rank of each expert of one layer without replicas."""
    rank_of = np.zeros(experts, np.int64)
    rank, slot = np.nonzero(table >= 0)
    rank_of[table[rank, slot]] = rank
    return rank_of


class _LayerTokens:
    """The tokens of one layer as the kernel takes them."""

    def __init__(self, problem: Problem, layer: int) -> None:
        rows = (problem.workload.anchored or ())[layer]
        self.problem, self.layer, self.rows = problem, layer, rows
        self.weight = rows.weight / rows.weight.sum()
        self.merged = problem.dedup != "none"
        token, k = np.nonzero(rows.ids >= 0)
        expert = rows.ids[token, k]
        order = np.argsort(expert, kind="stable")
        self.tokens = token[order]
        self.start = np.zeros(problem.num_experts + 1, np.int64)
        np.cumsum(np.bincount(expert, minlength=problem.num_experts), out=self.start[1:])

    def price_of_source(
        self, rank_of: NDArray[np.int64], distance: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Return (experts, ranks) what this layer pays if an anchor before is on a rank."""
        experts, ranks = self.problem.num_experts, self.problem.num_ranks
        touched = np.zeros((self.weight.size, ranks))
        for column in self.rows.ids.T:
            held = np.flatnonzero(column >= 0)
            np.add.at(touched, (held, rank_of[column[held]]), 1.0)
        if self.merged:
            touched = np.minimum(touched, 1.0)
        known = self.rows.before >= 0
        paid = (touched @ distance.T) * self.weight[:, None]
        price: NDArray[np.float64] = np.stack(
            [
                np.bincount(self.rows.before[known], paid[known, rank], minlength=experts)
                for rank in range(ranks)
            ],
            axis=1,
        )
        return price

    def exchange(
        self,
        table: NDArray[np.int32],
        before: NDArray[np.int64] | None,
        after: NDArray[np.float64],
        price: Prices,
        spread: float,
        seed: int,
    ) -> float:
        """Exchange experts of `table` in place; return what was gained."""
        from moeplace.formulations.chain.descent_kernels import exchange_layer

        problem, ranks = self.problem, self.problem.num_ranks
        source = np.full(self.weight.size, ranks, np.int64)  # anywhere
        if before is not None:
            known = self.rows.before >= 0
            source[known] = before[self.rows.before[known]]
        paid = np.vstack([price.distance, price.distance.mean(axis=0)]) + price.touch
        rng = np.random.default_rng([seed, self.layer])
        orders = np.array([rng.permutation(table.size) for _ in range(PASSES)], np.int64)
        most = np.inf if problem.max_load is None else problem.max_load / ranks
        return float(
            exchange_layer(
                table,
                self.rows.ids,
                self.weight,
                source,
                self.start,
                self.tokens,
                paid,
                after,
                problem.load_share[self.layer],
                spread,
                most,
                self.merged,
                orders,
            )
        )
