"""Min-max load of one layer with replication under an even split, in array form.

Experts in falling order of load q_e. Choice i says that expert ``expert[i]`` has ``copies[i]``
replicas, each with the load ``share[i] = q_e / copies[i]``.

    y[i] ∈ {0, 1}          choice i is made
    x[i, d] ∈ {0, 1}       under choice i, a replica lies on rank d
    M                      load of the fullest rank

    minimize M such that
    one_choice     Σ_i y[i] = 1                               for every expert, over its choices
    replicas       Σ_d x[i, d] = copies[i] · y[i]             for every choice
    chosen         x[i, d] ≤ y[i]                             where copies[i] > 1 (for the LP)
    slots          Σ_i x[i, d] ≤ slots                        for every rank
    total          Σ_i copies[i] · y[i] ≤ max_replicas
    load           Σ_i share[i] · x[i, d] ≤ M                 for every rank
    rank_order     X[e, d] ≤ Σ_{f ≤ e} X[f, d − 1]            X[e, d] = Σ x[i, d] over e's choices

Ranks are alike, so each placement has R! twins. Number the ranks by the first (heaviest) expert
they hold: if rank d holds e, then its first expert is at most e, and so is that of rank d − 1. So
`rank_order` keeps one twin at least. It is only imposed on the heaviest experts, which decide most.

Choices that cannot occur at or below a known value U are left out: expert e needs ⌈q_e / U⌉
replicas at least, and has at most what the others' needs leave. Experts without load have one.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

ORDERED_EXPERTS_PER_RANK = 2  # rank_order is imposed on this many times R of the heaviest experts
NEEDED_SLACK = 1e-9  # q_e / U up to rounding error above a whole number needs no further replica


@dataclass(frozen=True, eq=False)
class MinMaxLayer:
    """One layer's instance; see the module for the variables and constraints.

    Attributes
    ----------
    order
        (experts,) expert ids in falling order of load; rows below are in this order.
    load
        (experts,) loads in that order.
    fewest, most
        (experts,) replica counts that can occur at or below `upper`.
    upper, lower
        A value that is reached by a known placement, and a proven bound, in the unit of `load`.
    """

    order: NDArray[np.int64]
    load: NDArray[np.float64]
    num_ranks: int
    slots: int
    max_replicas: int
    fewest: NDArray[np.int64]
    most: NDArray[np.int64]
    upper: float
    lower: float

    @cached_property
    def first_choice(self) -> NDArray[np.int64]:
        """(experts + 1,) where each expert's choices start, and their number."""
        return np.concatenate([[0], np.cumsum(self.most - self.fewest + 1)])

    @cached_property
    def expert(self) -> NDArray[np.int64]:
        """(choices,) row of the expert each choice is about."""
        return np.repeat(np.arange(self.load.size), self.most - self.fewest + 1)

    @cached_property
    def copies(self) -> NDArray[np.int64]:
        """(choices,) replicas it has under the choice."""
        within = np.arange(self.expert.size) - self.first_choice[self.expert]
        copies: NDArray[np.int64] = self.fewest[self.expert] + within
        return copies

    @cached_property
    def share(self) -> NDArray[np.float64]:
        """(choices,) load of each replica."""
        share: NDArray[np.float64] = self.load[self.expert] / self.copies
        return share

    @cached_property
    def possible(self) -> NDArray[np.bool_]:
        """(choices, ranks) False where `rank_order` alone forbids a replica.

        The first e experts open at most Σ_{f ≤ e} most_f ranks.
        """
        opened = np.cumsum(self.most)[self.expert]
        possible: NDArray[np.bool_] = np.arange(self.num_ranks)[None, :] < opened[:, None]
        return possible

    @property
    def num_ordered(self) -> int:
        """Experts on which `rank_order` is imposed."""
        return min(self.load.size, ORDERED_EXPERTS_PER_RANK * self.num_ranks)

    @property
    def num_binaries(self) -> int:
        """Binary variables of the model."""
        return self.expert.size + int(self.possible.sum())

    def choices_of(self, row: int) -> range:
        """Return the choices about an expert."""
        return range(int(self.first_choice[row]), int(self.first_choice[row + 1]))

    def hint(self, table: NDArray[np.int32]) -> NDArray[np.bool_]:
        """Return (choices, ranks) x of a (ranks, slots) table, its ranks numbered by `rank_order`.

        A placement whose counts are not among the choices gives a partial hint.
        """
        held = np.zeros((self.load.size, self.num_ranks), bool)
        row_of = np.empty_like(self.order)
        row_of[self.order] = np.arange(self.order.size)
        rank, slot = np.nonzero(table >= 0)
        held[row_of[table[rank, slot]], rank] = True
        first = np.where(held.any(axis=0), held.argmax(axis=0), self.load.size)
        held = held[:, np.argsort(first, kind="stable")]
        on = held[self.expert] & (held.sum(axis=1)[self.expert] == self.copies)[:, None]
        hinted: NDArray[np.bool_] = on & self.possible
        return hinted

    def table(self, on: NDArray[np.bool_]) -> NDArray[np.int32]:
        """Return the (ranks, slots) table of a solution x (choices, ranks)."""
        table = np.full((self.num_ranks, self.slots), -1, np.int32)
        for rank in range(self.num_ranks):
            held = self.order[self.expert[on[:, rank]]]
            table[rank, : held.size] = np.sort(held)
        return table


def minmax_layer(
    load: NDArray[np.float64],
    num_ranks: int,
    slots: int,
    max_replicas: int,
    *,
    upper: float,
    lower: float,
) -> MinMaxLayer:
    """Return the instance of one layer.

    Parameters
    ----------
    load
        (experts,) loads in any unit.
    num_ranks, slots, max_replicas
        R, slots of each, and most replicas.
    upper
        Largest rank load of a known placement.
    lower
        Proven lower bound on it.
    """
    order = np.argsort(-load, kind="stable")
    ordered = load[order]
    needed = np.ceil(ordered / upper * (1 - NEEDED_SLACK)) if upper > 0 else np.ones(load.size)
    fewest = np.clip(needed.astype(np.int64), 1, num_ranks)
    spare = max(0, min(max_replicas, num_ranks * slots) - int(fewest.sum()))
    most = np.where(ordered > 0, np.minimum(num_ranks, fewest + spare), 1)
    return MinMaxLayer(order, ordered, num_ranks, slots, max_replicas, fewest, most, upper, lower)
