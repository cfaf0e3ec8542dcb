"""Partitions of thousands of vertices: recursive bisections, recombined (KaFFPaE, KaHyParE).

Two good partitions agree on most vertices. Those are joined before anything else, the better
one is carried over, and refinement decides only where they differ: Sanders & Schulz, ALENEX
2012; Andre, Schlag & Schulz, GECCO 2018.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from moeplace.formulations.partition.multilevel import Cut, recursive_bisection, score, v_cycle

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from moeplace.formulations.partition.clock import Clock
    from moeplace.formulations.partition.hypergraph import Hypergraph
    from moeplace.formulations.partition.room import Room

POPULATION = 8
FOUNDING = 0.6  # share of the budget for independent partitions
ALONE = 0.1  # share of later rounds that refine one partition
NEWCOMER = 0.05  # share of later rounds that bring in an independent one


def search_by_evolution(
    graph: Hypergraph,
    room: Room,
    initial: list[NDArray[np.int32]],
    plain: list[NDArray[np.int32]],
    lower: int,
    clock: Clock,
    seed: int,
) -> Cut:
    """Return the best partition found; a round is one partition made.

    Parameters
    ----------
    graph
        Vertices of size 1.
    initial
        Partitions to begin with.
    plain
        Partitions to fall back on; too far from good ones to be recombined.
    lower
        A bound on Σ w · λ; the search stops where it is reached.
    clock
        When to stop.
    seed
        Same seed, same result, unless the time limit ends the search.
    """
    random = np.random.default_rng(seed)
    people: list[Cut] = []
    fallback = [score(graph, room, part) for part in plain]
    for part in initial:
        _admit(people, score(graph, room, part))
        _admit(people, v_cycle(graph, room, part, part, clock, random))
    while not clock.done() and not _is_best(people, lower):
        founding = clock.fraction() < FOUNDING or len(people) < 2
        if founding or random.random() < NEWCOMER:
            part = block = recursive_bisection(graph, room, clock, random)
            _admit(people, score(graph, room, part))
        elif random.random() < ALONE:
            part = block = people[int(random.integers(len(people)))].part
        else:
            first, second = sorted(random.choice(len(people), 2, replace=False))
            part = people[first].part
            block = _overlay(part, people[second].part)
        _admit(people, v_cycle(graph, room, part, block, clock, random))
        clock.rounds += 1
    return min(people + fallback, key=lambda c: (c.over, c.value))


def _is_best(people: list[Cut], lower: int) -> bool:
    return bool(people) and people[0].over == 0 and people[0].value <= lower


def _admit(people: list[Cut], cut: Cut) -> None:
    """Keep the best partitions, none twice."""
    for other in people:
        same = other.over == cut.over and other.value == cut.value
        if same and np.array_equal(other.part, cut.part):
            return
    people.append(cut)
    people.sort(key=lambda c: (c.over, c.value))
    del people[POPULATION:]


def _overlay(one: NDArray[np.int32], two: NDArray[np.int32]) -> NDArray[np.int32]:
    """Return blocks of vertices that both partitions keep together."""
    pairs = one.astype(np.int64) * (int(two.max()) + 1) + two
    block: NDArray[np.int32] = np.unique(pairs, return_inverse=True)[1].astype(np.int32)
    return block
