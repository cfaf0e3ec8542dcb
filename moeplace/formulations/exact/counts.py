"""How often an expert may be replicated: the choices that the models are indexed by."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from moeplace.placement import Problem

NEEDED_SLACK = 1e-9  # q_e / U up to rounding error above a whole number needs no further replica


@dataclass(frozen=True, eq=False)
class Choices:
    """Choice i says that the expert of row ``expert[i]`` has ``copies[i]`` replicas.

    Attributes
    ----------
    order
        (experts,) expert ids in falling order of load; rows are in this order.
    fewest, most
        (experts,) replica counts that need to be considered.
    """

    order: NDArray[np.int64]
    fewest: NDArray[np.int64]
    most: NDArray[np.int64]

    @cached_property
    def expert(self) -> NDArray[np.int64]:
        """(choices,) row of the expert each choice is about."""
        return np.repeat(np.arange(self.order.size), self.most - self.fewest + 1)

    @cached_property
    def first(self) -> NDArray[np.int64]:
        """(experts + 1,) where each expert's choices start, and their number."""
        return np.concatenate([[0], np.cumsum(self.most - self.fewest + 1)])

    @cached_property
    def copies(self) -> NDArray[np.int64]:
        """(choices,) replicas the expert has under the choice."""
        within = np.arange(self.expert.size) - self.first[self.expert]
        copies: NDArray[np.int64] = self.fewest[self.expert] + within
        return copies

    @cached_property
    def row_of(self) -> NDArray[np.int64]:
        """(experts,) row of each expert id."""
        row = np.empty_like(self.order)
        row[self.order] = np.arange(self.order.size)
        return row

    @property
    def single(self) -> bool:
        """Whether no expert can have a second replica."""
        return bool((self.most == 1).all())


def make_choices(problem: Problem, layer: int, upper_share: float | None) -> Choices:
    """Return the choices of one layer.

    An expert without tokens in any scenario needs one replica. Where the largest rank load is
    minimized and a placement with largest rank share U is known, expert e needs ⌈q_e / U⌉
    replicas to get below it. An expert has at most what the others' needs leave.

    Parameters
    ----------
    problem
        Its `max_replicas`, slots and ranks limit the counts.
    layer
        Row of the workload.
    upper_share
        U, the share of all pairs on the fullest rank of a known placement, None to leave it out.
    """
    load = problem.load_share[layer]
    order = np.argsort(-load, kind="stable")
    ranks = problem.num_ranks
    fewest = np.ones(load.size, np.int64)
    if upper_share is not None and upper_share > 0:
        needed = np.ceil(load[order] / upper_share * (1 - NEEDED_SLACK)).astype(np.int64)
        fewest = np.clip(needed, 1, ranks)
    slots = min(problem.max_replicas, ranks * problem.slots_per_rank)
    spare = max(0, slots - int(fewest.sum()))
    used = used_experts(problem, layer)[order]
    most = np.where(used, np.minimum(ranks, fewest + spare), 1)
    return Choices(order, fewest, np.maximum(most, fewest))


def used_experts(problem: Problem, layer: int) -> NDArray[np.bool_]:
    """Return (experts,) whether any token of any scenario needs the expert."""
    used = np.zeros(problem.num_experts, bool)
    for scenario in problem.scenarios or (problem,):
        used |= scenario.load_share[layer] > 0
        if scenario.workload.token_sets is not None:
            ids = scenario.workload.token_sets[layer].ids
            used[np.unique(ids[ids >= 0])] = True
    return used
