"""Where the replicas of one layer lie: variables and rules that do not depend on the objective.

Experts in falling order of load. Choice i says that an expert has ``copies[i]`` replicas
(:mod:`.counts`).

    y[i] ∈ {0, 1}          choice i is made; left out where an expert has one choice
    x[i, d] ∈ {0, 1}       under choice i, a replica lies on rank d

    one_choice     Σ_i y[i] = 1                               for every expert, over its choices
    replicas       Σ_d x[i, d] = copies[i] · y[i]             for every choice
    chosen         x[i, d] ≤ y[i]                             where copies[i] > 1 (for the LP)
    slots          Σ_i x[i, d] ≤ slots                        for every rank
    total          Σ_i copies[i] · y[i] ≤ max_replicas
    load cap       Σ_i share[i] · x[i, d] ≤ max_load / R      for every rank and scenario
    moves          Σ x[i, d] over d not holding i's expert now ≤ max_moves
    groups         h[g, n] ∈ {0, 1}, Σ_n h[g, n] = 1, Σ_{d in n} x[i, d] ≤ copies[i] · h[g, n]
    rank_order     X[e, d] ≤ Σ_{f ≤ e} X[f, d − 1]            X[e, d] = Σ x[i, d] over e's choices
    home           Σ_{d in first} X[0, d] ≥ 1

Ranks that can be renamed among themselves (:mod:`.symmetry`) are numbered by the first (heaviest)
expert they hold: if rank d holds e, then its first expert is at most e, and so is that of the rank
before it in its class. So `rank_order` keeps one twin at least. It is only imposed on the heaviest
experts, which decide most. `home` then breaks what is left, nodes and reflections of a mesh.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from moeplace.formulations.exact.linear_model import IMPLIED, INTEGER, Terms, terms, total
from moeplace.placement.groups import group_of_expert
from moeplace.placement.load_cap import CAP_TOLERANCE

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from moeplace.formulations.exact.counts import Choices
    from moeplace.formulations.exact.linear_model import ModelBuilder
    from moeplace.formulations.exact.symmetry import Symmetry
    from moeplace.placement import Problem

ORDERED_EXPERTS_PER_RANK = 2  # rank_order is imposed on this many times R of the heaviest experts


@dataclass(frozen=True, eq=False)
class LayerColumns:
    """The variables of one layer.

    Attributes
    ----------
    layer
        Row of the workload.
    slots
        Slots of each rank.
    x
        (choices, ranks) column of each variable, −1 where it is known to be 0.
    y
        (choices,) column, −1 where the choice is made for certain.
    """

    layer: int
    slots: int
    choices: Choices
    symmetry: Symmetry
    x: NDArray[np.int64]
    y: NDArray[np.int64]

    def holding(self, weight: NDArray[np.float64]) -> Terms:
        """Return one expression a rank: Σ_i weight[i] · x[i, d].

        Parameters
        ----------
        weight
            (choices,) what a replica counts.
        """
        choices, ranks = self.x.shape
        value = np.broadcast_to(weight[:, None], (choices, ranks))
        return terms(np.arange(ranks)[None, :], self.x, value, ranks)

    def table(self, values: NDArray[np.float64]) -> NDArray[np.int32]:
        """Return (ranks, slots) the experts of a solution's columns, −1 for empty slots."""
        on = (self.x >= 0) & (values[self.x] > 0.5)
        table = np.full((self.x.shape[1], self.slots), -1, np.int32)
        for rank in range(table.shape[0]):
            held = np.unique(self.choices.order[self.choices.expert[on[:, rank]]])
            table[rank, : held.size] = held
        return table

    def hint(self, table: NDArray[np.int32]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Return columns and values of a twin of a (ranks, slots) table that keeps the rules."""
        held = np.zeros((self.choices.order.size, self.x.shape[1]), bool)
        rank, slot = np.nonzero(table >= 0)
        held[self.choices.row_of[table[rank, slot]], rank] = True
        held = self.symmetry.canonical(held)
        made = held.sum(axis=1)[self.choices.expert] == self.choices.copies
        on = held[self.choices.expert] & made[:, None]
        columns = np.concatenate([self.x.ravel(), self.y])
        values = np.concatenate([on.ravel(), made]).astype(float)
        return columns[columns >= 0], values[columns >= 0]


def add_layer(
    builder: ModelBuilder, problem: Problem, layer: int, choices: Choices, symmetry: Symmetry
) -> LayerColumns:
    """Add the variables and rules of a layer."""
    ranks = problem.num_ranks
    # The first e experts open at most Σ most_f ranks of a class.
    opened = np.cumsum(choices.most)[choices.expert]
    position = np.empty(ranks, np.int64)
    for members in symmetry.classes:
        position[members] = np.arange(members.size)
    possible = position[None, :] < opened[:, None]
    free = (choices.most > choices.fewest)[choices.expert]
    x = np.full(possible.shape, -1, np.int64)
    x[possible] = builder.columns(int(possible.sum()), INTEGER)
    y = np.full(choices.expert.size, -1, np.int64)
    y[free] = builder.columns(int(free.sum()), INTEGER)
    columns = LayerColumns(layer, problem.slots_per_rank, choices, symmetry, x, y)
    _counts(builder, problem, columns)
    _load_cap(builder, problem, columns)
    _moves(builder, problem, columns)
    _groups(builder, problem, columns)
    _rank_order(builder, columns)
    if symmetry.first.size < ranks:
        first = terms(0, x[choices.expert == 0][:, symmetry.first], 1.0, 1)
        builder.constrain(first, lower=1.0)
    return columns


def _counts(builder: ModelBuilder, problem: Problem, columns: LayerColumns) -> None:
    choices, x, y = columns.choices, columns.x, columns.y
    free = y >= 0
    experts = np.unique(choices.expert[free])
    row = np.searchsorted(experts, choices.expert[free])
    builder.constrain(terms(row, y[free], 1.0, experts.size), 1.0, 1.0)
    number = np.arange(y.size)
    placed = terms(number[:, None], x, 1.0, y.size)
    chosen = terms(number, y, -choices.copies.astype(float), y.size)
    fixed = np.where(free, 0, choices.copies).astype(float)
    builder.constrain(total([placed, chosen]), fixed, fixed)
    several = np.flatnonzero(free & (choices.copies > 1))
    choice, rank = np.nonzero(x[several] >= 0)
    choice = several[choice]
    row = np.arange(choice.size)
    builder.constrain(
        total([terms(row, x[choice, rank], 1.0, row.size), terms(row, y[choice], -1.0, row.size)]),
        upper=0.0,
    )
    builder.constrain(columns.holding(np.ones(y.size)), upper=float(problem.slots_per_rank))
    certain = int(choices.copies[~free].sum())
    builder.constrain(
        terms(np.zeros(y.size), y, choices.copies.astype(float), 1),
        upper=float(problem.max_replicas - certain),
    )


def _load_cap(builder: ModelBuilder, problem: Problem, columns: LayerColumns) -> None:
    if problem.max_load is None:
        return
    for scenario in problem.scenarios or (problem,):
        share = replica_share(scenario, columns)
        limit = problem.max_load / problem.num_ranks * (1 + CAP_TOLERANCE)
        builder.constrain(columns.holding(share), upper=limit * share_sum(scenario, columns))


def replica_share(problem: Problem, columns: LayerColumns) -> NDArray[np.float64]:
    """Return (choices,) share of all pairs that each replica serves under an even split."""
    choices = columns.choices
    load = problem.load_share[columns.layer][choices.order]
    share: NDArray[np.float64] = load[choices.expert] / choices.copies
    return share


def share_sum(problem: Problem, columns: LayerColumns) -> float:
    """Return the sum of all shares: 1, or 0 in a layer without load."""
    return float(problem.load_share[columns.layer].sum())


def _moves(builder: ModelBuilder, problem: Problem, columns: LayerColumns) -> None:
    if problem.current is not None and problem.max_moves is not None:
        builder.constrain(moved(problem, columns), upper=float(problem.max_moves))


def moved(problem: Problem, columns: LayerColumns) -> Terms:
    """Return the number of replicas on ranks that do not hold the expert in `current`."""
    if problem.current is None:
        return terms([], [], [], 1)
    choices = columns.choices
    held = problem.current.replicas_on_rank[columns.layer][choices.order][choices.expert] > 0
    return terms(0, np.where(held, -1, columns.x), 1.0, 1)


def _groups(builder: ModelBuilder, problem: Problem, columns: LayerColumns) -> None:
    if not problem.groups_on_nodes:
        return
    choices, node = columns.choices, problem.system.topology.node_of_rank
    group_of = group_of_expert(problem)
    group = group_of[choices.order][choices.expert]
    groups, nodes = int(group_of.max()) + 1, int(node.max()) + 1
    home = builder.columns((groups, nodes), INTEGER)
    builder.constrain(terms(np.arange(groups)[:, None], home, 1.0, groups), 1.0, 1.0)
    number = np.arange(choices.expert.size)
    inside = terms(
        number[:, None] * nodes + node[None, :], columns.x, 1.0, choices.expert.size * nodes
    )
    limit = terms(
        number[:, None] * nodes + np.arange(nodes)[None, :],
        home[group],
        -choices.copies[:, None].astype(float),
        choices.expert.size * nodes,
    )
    builder.constrain(total([inside, limit]), upper=0.0)


def _rank_order(builder: ModelBuilder, columns: LayerColumns) -> None:
    choices, x = columns.choices, columns.x
    ranks = x.shape[1]
    ordered = min(choices.order.size, ORDERED_EXPERTS_PER_RANK * ranks)
    ours = np.flatnonzero(choices.expert < ordered)
    row = choices.expert[ours]
    expert, earlier = np.nonzero(row[None, :] <= np.arange(ordered)[:, None])
    for members in columns.symmetry.classes:
        for before, here in itertools.pairwise(members):
            if (x[ours, here] < 0).all():
                continue
            holds = terms(row, x[ours, here], 1.0, ordered)
            opened = terms(expert, x[ours[earlier], before], -1.0, ordered)
            builder.constrain(total([holds, opened]), upper=0.0)


def inside_sets(
    builder: ModelBuilder, columns: LayerColumns, members: NDArray[np.bool_]
) -> NDArray[np.int64]:
    """Return (choices, sets) columns of Σ_{d in set} x[i, d] where a choice has one copy.

    A single rank's is its x; others get a column of their own. −1 where the sum is 0.
    """
    size = members.sum(axis=1)
    inside = np.full((columns.x.shape[0], members.shape[0]), -1, np.int64)
    alone = np.flatnonzero(size == 1)
    inside[:, alone] = columns.x[:, members[alone].argmax(axis=1)]
    wide = np.flatnonzero(size > 1)
    once = np.flatnonzero(columns.choices.copies == 1)
    if not (wide.size and once.size):
        return inside
    added = builder.columns((once.size, wide.size), IMPLIED)
    inside[np.ix_(once, wide)] = added
    count = added.size
    row = np.arange(count).reshape(added.shape)
    which, rank = np.nonzero(members[wide])
    summed = terms(row[:, which], columns.x[once][:, rank], 1.0, count)
    builder.constrain(total([summed, terms(row, added, -1.0, count)]), 0.0, 0.0)
    return inside
