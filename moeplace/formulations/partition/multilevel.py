"""One way down and up the levels of a hypergraph: coarsen, partition the coarsest, refine.

The scheme of KaHyPar (Schlag et al., ACM JEA 27 (2022), arXiv 2106.08696), built for exact
balance: a rank may be off by a quarter of a level's largest vertex, so that the finest is exact.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from moeplace.formulations.partition.cluster_kernels import cluster
from moeplace.formulations.partition.fm_kernels import fm_pass
from moeplace.formulations.partition.hypergraph import contract
from moeplace.formulations.partition.kernels import count_ranks
from moeplace.formulations.partition.room import UNSET

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from moeplace.formulations.partition.clock import Clock
    from moeplace.formulations.partition.hypergraph import Hypergraph
    from moeplace.formulations.partition.room import Room

TOLERANCE = 0.25  # of the largest vertex: what a rank may be off by on a coarse level
PASSES = 3  # of refinement on a level, at most; more levels are worth more than more passes
PATIENCE = 0.03  # moves without a better state before a pass ends, relative to the vertices
SHRINK = 2.2  # vertices of a level over those of the next
TRIES = 8  # partitions of the coarsest level
COARSEST = 150  # vertices to stop at, at least
COARSEST_PER_RANK = 30


@dataclass(frozen=True, eq=False)
class Cut:
    """A partition, its Σ w · λ and what lies above the limits (in units of load)."""

    over: int
    value: int
    part: NDArray[np.int32]


def score(graph: Hypergraph, room: Room, part: NDArray[np.int32]) -> Cut:
    """Return a partition of the finest level with its figures."""
    state = _state(graph, room.slots.size, part)
    slots = np.bincount(part, minlength=room.slots.size)
    load = np.zeros(room.load.size, np.int64)
    np.add.at(load, part, graph.load)
    over = np.maximum(0, slots - room.slots).sum() * _slot_price(graph)
    over += np.maximum(0, load - room.load).sum()
    return Cut(int(over), state[0], part)


def v_cycle(
    graph: Hypergraph,
    room: Room,
    part: NDArray[np.int32] | None,
    block: NDArray[np.int32],
    clock: Clock,
    random: np.random.Generator,
) -> Cut:
    """Coarsen, take over or find a partition of the coarsest level, refine on the way up.

    Parameters
    ----------
    graph
        The finest level.
    part
        (vertices,) partition to start from, None to find one.
    block
        (vertices,) only vertices of one block are joined; if `part` is given, no block may
        spread over two of its ranks.
    clock
        Refinement is left out when the time is over.
    """
    fewest = max(COARSEST, COARSEST_PER_RANK * room.slots.size)
    levels, groups = _coarsen(graph, block, fewest, room, random)
    coarsest = levels[-1]
    if part is None:
        tries = (
            _refine(coarsest, room, _scatter(coarsest, room, random), clock, random)
            for _ in range(TRIES)
        )
        cut = min(tries, key=lambda c: (c.over, c.value))
    else:
        for level, group in zip(levels[1:], groups, strict=True):
            coarse = np.empty(level.num_vertices, np.int32)
            coarse[group] = part
            part = coarse
        cut = _refine(coarsest, room, part.copy(), clock, random)
    for level, group in zip(levels[-2::-1], groups[::-1], strict=True):
        cut = _refine(level, room, cut.part[group], clock, random)
    return cut


def recursive_bisection(
    graph: Hypergraph, room: Room, clock: Clock, random: np.random.Generator
) -> NDArray[np.int32]:
    """Return a partition by splitting the ranks in two, again and again.

    A net that is split counts on both sides, so that the cuts add up to Σ w · (λ − 1).
    """
    part = np.zeros(graph.num_vertices, np.int32)
    todo = [(graph, np.arange(graph.num_vertices), 0, room.slots.size)]
    while todo:
        here, members, first, last = todo.pop()
        if last - first == 1 or not members.size:
            part[members] = first
            continue
        if clock.out_of_time():
            part[members] = first + _fill(members.size, room.slots[first:last])
            continue
        middle = (first + last) // 2
        everyone = np.zeros(members.size, np.int32)
        cut = v_cycle(here, room.join(first, middle, last), None, everyone, clock, random)
        for side, begin, end in ((0, first, middle), (1, middle, last)):
            chosen = np.flatnonzero(cut.part == side)
            group = np.full(members.size, -1, np.int32)
            group[chosen] = np.arange(chosen.size)
            inside = contract(here, group, chosen.size) if end - begin > 1 else here
            todo.append((inside, members[chosen], begin, end))
    return part


def _coarsen(
    graph: Hypergraph,
    block: NDArray[np.int32],
    fewest: int,
    room: Room,
    random: np.random.Generator,
) -> tuple[list[Hypergraph], list[NDArray[np.int32]]]:
    """Return the levels, finest first, and the group of each vertex in the next level."""
    levels, groups = [graph], []
    largest = max(1, int(1.5 * graph.size.sum() / fewest))
    heaviest = max(int(graph.load.max(initial=0)), int(room.load.min() // 4))
    while levels[-1].num_vertices > fewest:
        here = levels[-1]
        group, number = cluster(
            here.net_start, here.pin, here.net_weight, here.vertex_start, here.net,
            here.size, here.load, block, largest, heaviest,
            max(fewest, int(here.num_vertices / SHRINK)), random.permutation(here.num_vertices),
        )  # fmt: skip
        if number > 0.95 * here.num_vertices:
            break
        levels.append(contract(here, group, number))
        groups.append(group)
        joined = np.empty(number, np.int32)
        joined[group] = block
        block = joined
    return levels, groups


def _fill(number: int, slots: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return ranks, from 0, of that many vertices in order."""
    return np.repeat(np.arange(slots.size), slots)[:number]


def _scatter(graph: Hypergraph, room: Room, random: np.random.Generator) -> NDArray[np.int32]:
    """Return a random partition: vertices in random order, cut where the slots are used up."""
    order = random.permutation(graph.num_vertices)
    middle = np.cumsum(graph.size[order]) - graph.size[order] / 2
    share = np.cumsum(room.slots) * (graph.size.sum() / room.slots.sum())
    part = np.zeros(graph.num_vertices, np.int32)
    part[order] = np.minimum(np.searchsorted(share, middle), room.slots.size - 1)
    return part


def _refine(
    graph: Hypergraph,
    room: Room,
    part: NDArray[np.int32],
    clock: Clock,
    random: np.random.Generator,
) -> Cut:
    """Improve a partition in place by passes until none helps."""
    value, count, enter, leave = _state(graph, room.slots.size, part)
    slack = int(graph.size.max(initial=1))
    load_slack = int(graph.load.max(initial=0))
    exact = slack == 1
    slots = room.slots + (0 if exact else int(TOLERANCE * slack))
    load = room.load + (0 if exact else int(TOLERANCE * load_slack))
    patience = max(100, int(PATIENCE * graph.num_vertices))
    slot_price = _slot_price(graph)
    over = above = UNSET
    for number in range(PASSES):
        if number and clock.out_of_time():
            break
        change, above = fm_pass(
            graph.net_start, graph.pin, graph.net_weight, graph.vertex_start, graph.net,
            graph.size, graph.load, part, count, enter, leave, slots, load, slack, load_slack,
            slot_price, patience, random.permutation(graph.num_vertices),
        )  # fmt: skip
        value += change
        if change >= 0 and above >= over:
            break
        over = above
    return Cut(above, value, part)


def _state(
    graph: Hypergraph, ranks: int, part: NDArray[np.int32]
) -> tuple[int, NDArray[np.uint16], NDArray[np.int64], NDArray[np.int64]]:
    """Return Σ w · λ, count, enter and leave, see the kernels."""
    count = np.zeros((graph.num_nets, ranks), np.uint16)
    enter = np.zeros((graph.num_vertices, ranks), np.int64)
    leave = np.zeros(graph.num_vertices, np.int64)
    value = count_ranks(graph.net_start, graph.pin, graph.net_weight, part, count, enter, leave)
    return int(value), count, enter, leave


def _slot_price(graph: Hypergraph) -> int:
    """Return the load that counts as much as one slot above the limit."""
    return max(1, int(graph.load.sum() // max(1, graph.size.sum())))
