"""Ranks that can change places without changing any cost, found by trying."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from moeplace.hwmodels import Topology
    from moeplace.placement import Problem

DIGITS = 12  # costs that agree to so many digits are the same


@dataclass(frozen=True, eq=False)
class Symmetry:
    """What may be assumed of a placement without losing every optimal one.

    Attributes
    ----------
    classes
        Ranks in rising order that can be renamed in any way among themselves.
    home
        (ranks, ranks) for every rank a renaming (new name of each rank) that brings it to a rank
        of `first`.
    first
        Ranks on one of which any one chosen expert may be assumed to lie. The first of its class
        each.
    """

    classes: tuple[NDArray[np.int64], ...]
    home: NDArray[np.int64]
    first: NDArray[np.int64]

    def canonical(self, held: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Return (experts, ranks) a twin: expert 0 at home, ranks of a class by first expert.

        Parameters
        ----------
        held
            (experts, ranks) which expert lies where, most important expert first.
        """
        if held[0].any():
            renamed = np.zeros_like(held)
            renamed[:, self.home[int(held[0].argmax())]] = held
            held = renamed
        held = held.copy()
        first = np.where(held.any(axis=0), held.argmax(axis=0), held.shape[0])
        for ranks in self.classes:
            held[:, ranks] = held[:, ranks[np.argsort(first[ranks], kind="stable")]]
        return held


def rank_symmetry(problem: Problem) -> Symmetry:
    """Find renamings of ranks under which no cost changes and no rule breaks.

    Tried are swaps of two ranks, swaps of two nodes, and reflections of a mesh. A renaming counts
    if it maps the destination sets onto each other such that the touches' costs are the same: the
    linear ones one by one, the links' as a list without order. Moves name ranks, so a problem
    that limits or prices them has none.
    """
    ranks = problem.num_ranks
    identity = np.arange(ranks)
    costs = [_Costs(p) for p in (problem.scenarios or (problem,))]
    nodes = problem.system.topology.node_of_rank if problem.groups_on_nodes else None

    def allowed(renaming: NDArray[np.int64]) -> bool:
        if problem.max_moves is not None or problem.move_price_us_per_GB:
            return False
        if nodes is not None and not _keeps_nodes(nodes, renaming):
            return False
        return all(cost.unchanged(renaming) for cost in costs)

    classes: list[list[int]] = []
    for rank in range(ranks):
        for members in classes:
            swapped = identity.copy()
            swapped[[members[0], rank]] = rank, members[0]
            if allowed(swapped):
                members.append(rank)
                break
        else:
            classes.append([rank])
    first_of = np.empty(ranks, np.int64)
    for members in classes:
        first_of[members] = members[0]
    images = [identity, *(r for r in _whole_renamings(problem.system.topology) if allowed(r))]
    home = np.empty((ranks, ranks), np.int64)
    for rank in range(ranks):
        home[rank] = min(images, key=lambda image: int(first_of[image[rank]]))
    first = np.unique(first_of[home[identity, identity]])
    return Symmetry(tuple(np.array(members) for members in classes), home, first)


def no_symmetry(num_ranks: int) -> Symmetry:
    """Return the symmetry that assumes nothing."""
    identity = np.arange(num_ranks)
    return Symmetry(
        tuple(np.array([rank]) for rank in range(num_ranks)),
        np.tile(identity, (num_ranks, 1)),
        identity,
    )


class _Costs:
    """What a touch of each destination set costs, in a form that can be compared."""

    def __init__(self, problem: Problem) -> None:
        plan = problem.plan
        self.members = plan.members
        self.number = {row.tobytes(): j for j, row in enumerate(plan.members)}
        self.linear: list[NDArray[np.float64]] = []
        self.links: list[NDArray[np.float64]] = []
        if problem.objective == "copies":
            self.linear = [_rounded(plan.uniform_messages)]
        elif problem.objective == "hops":
            self.linear = [_rounded(plan.uniform_use[0].sum(axis=0))]
        elif problem.objective == "time":
            bandwidth = plan.topology.bandwidth_Bps[:, None]
            self.linear = [_rounded(plan.uniform_latency_s)]
            self.links = [_rounded(use / bandwidth) for use in plan.uniform_use]

    def unchanged(self, renaming: NDArray[np.int64]) -> bool:
        """Return whether every placement costs the same after the renaming."""
        if not self.linear:
            return True
        moved = np.empty_like(self.members)
        moved[:, renaming] = self.members
        image = np.array([self.number.get(row.tobytes(), -1) for row in moved], np.int64)
        if (image < 0).any():
            return False
        if any((cost[image] != cost).any() for cost in self.linear):
            return False
        return all(
            sorted(map(bytes, np.ascontiguousarray(rows[:, image])))
            == sorted(map(bytes, np.ascontiguousarray(rows)))
            for rows in self.links
        )


def _rounded(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Round relative to the largest, so that sums in another order compare equal."""
    scale = float(np.abs(values).max(initial=0.0)) or 1.0
    rounded: NDArray[np.float64] = np.round(values / scale, DIGITS) + 0.0
    return rounded


def _keeps_nodes(node: NDArray[np.int64], renaming: NDArray[np.int64]) -> bool:
    new = np.empty_like(node)
    new[renaming] = node
    pairs = np.unique(np.stack([node, new]), axis=1)
    return bool(pairs.shape[1] == int(node.max()) + 1)


def _whole_renamings(topology: Topology) -> Iterator[NDArray[np.int64]]:
    """Yield reflections of a mesh, or swaps of node 0 with another of its size."""
    if topology.shape is not None:
        grid = np.arange(topology.num_ranks).reshape(topology.shape)
        for image in (grid[::-1], grid[:, ::-1], grid[::-1, ::-1]):
            yield image.ravel()
        return
    zero = np.flatnonzero(topology.node_of_rank == 0)
    for node in range(1, topology.num_nodes):
        other = np.flatnonzero(topology.node_of_rank == node)
        if other.size == zero.size:
            swapped = np.arange(topology.num_ranks)
            swapped[zero], swapped[other] = other, zero
            yield swapped
