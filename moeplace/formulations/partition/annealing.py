"""Partitions of up to a thousand experts: bisection of clique weights, then annealing on λ.

Measured on 64 experts over 8 ranks with 13,000 token sets: a proposal takes 0.1 µs, because
nearly all are refused without a look at a set. What remains grows with the sets, so that large
workloads are searched on a sample first.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from moeplace.clock import monotonic
from moeplace.formulations.partition.bisection import bisections
from moeplace.formulations.partition.hypergraph import thinned
from moeplace.formulations.partition.room import UNSET
from moeplace.formulations.partition.swap_search import SwapSearch

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from moeplace.formulations.partition.clock import Clock
    from moeplace.formulations.partition.hypergraph import Hypergraph
    from moeplace.formulations.partition.room import Room

    Found = tuple[int, int, NDArray[np.int32]]  # load above the cap, Σ w · λ, partition

BISECTIONS = 4  # starts beside the given ones
PROPOSALS = 4000  # per expert in the first round; every later round takes twice as many
LONGEST = 64  # first rounds in the longest one
PATIENCE = 24  # longest rounds that bring nothing before the search ends
LEAST = 256  # proposals of a slice
SLICES = 32  # looks at the clock in a round
HOT, COLD = 0.04, 0.012  # temperatures, relative to the mean load of an expert
FEW = 25.0  # sets of an expert below which single sets set the temperature
COOL = 0.015  # the first temperature where a good partition is only finished
PRICE = 2.0  # Σ w · λ that a unit of load above the cap counts as, at first
FIRM = 1e3  # the same where the cap goes before everything
MOST_NETS = 24_000  # of the sample; λ of another such sample differs by more than the searches
SAMPLED = 0.6  # share of the time for the sample


def search_by_annealing(
    graph: Hypergraph,
    room: Room,
    starts: list[NDArray[np.int32]],
    lower: int,
    clock: Clock,
    seed: int,
) -> Found:
    """Return load above the cap, Σ w · λ and the best partition found.

    Parameters
    ----------
    graph
        Vertices of size 1.
    starts
        Partitions to begin with, within the slots.
    lower
        A bound on Σ w · λ; the search stops where it is reached.
    clock
        Rounds are annealings, each twice as long as the one before.
    seed
        Same seed, same result, unless the time limit ends the search.
    """
    if graph.num_nets <= MOST_NETS:
        return _rounds(graph, room, starts, lower, clock, seed)
    sampling = clock.part(SAMPLED)
    _, _, part = _rounds(thinned(graph, MOST_NETS), room, starts, -1, sampling, seed)
    clock.rounds = sampling.rounds
    searches = [SwapSearch(graph, room, start, 0) for start in (part, *starts)]
    search = min(searches, key=lambda s: (s.excess, s.value))
    search.descend(PRICE, clock)
    best = _better((UNSET, UNSET, part), search)
    pace_s = 0.0
    while best[1] > lower and not clock.out_of_time():
        search = SwapSearch(graph, room, best[2], seed + clock.rounds)
        length = PROPOSALS * graph.num_vertices
        pace_s = _round(search, PRICE, COOL, length, clock, pace_s)
        search.descend(PRICE, clock)
        best = _better(best, search)
        if clock.time_limit_s is None:
            break
    return best


def _rounds(
    graph: Hypergraph,
    room: Room,
    starts: list[NDArray[np.int32]],
    lower: int,
    clock: Clock,
    seed: int,
) -> Found:
    """Descend from starts, then anneal from the best partition and from new ones in turn."""
    splits = bisections(graph, room, seed)
    best = _descents(graph, room, starts, clock)
    for _ in range(BISECTIONS):
        if not clock.out_of_time():
            best = min(best, _descents(graph, room, [next(splits)], clock), key=_rating)
    price, pace_s, stale = PRICE, 0.0, 0
    while not clock.done() and stale < PATIENCE and (best[0] > 0 or best[1] > lower):
        part = next(splits) if clock.rounds % 2 else best[2]
        search = SwapSearch(graph, room, part, seed * 1_000_003 + clock.rounds)
        length = PROPOSALS * graph.num_vertices * min(LONGEST, 2**clock.rounds)
        pace_s = _round(search, price, HOT, length, clock, pace_s)
        # a price is right where the annealing ends inside the cap, but only just
        price = min(price * 2.0, FIRM) if search.excess else max(price / 1.5, PRICE / 2)
        if search.excess and best[0] > 0:
            search.descend(FIRM, clock)
        found = _better(best, search)
        stale = stale + 1 if _rating(found) == _rating(best) and 2**clock.rounds >= LONGEST else 0
        best = found
        clock.rounds += 1
    return best


def _descents(
    graph: Hypergraph, room: Room, starts: list[NDArray[np.int32]], clock: Clock
) -> Found:
    best = (UNSET, UNSET, starts[0])
    for part in starts:
        search = SwapSearch(graph, room, part, 0)
        search.descend(PRICE, clock)
        best = _better(best, search)
    return best


def _round(
    search: SwapSearch, price: float, hottest: float, length: int, clock: Clock, pace_s: float
) -> float:
    """Anneal once, shorter where the time left asks for it.

    Parameters
    ----------
    hottest
        First temperature, relative to the mean load of an expert.
    pace_s
        Seconds a proposal took in the last round, 0 if not known.

    Returns
    -------
    seconds a proposal took in this one
    """
    graph = search.graph
    weight = float(graph.net_weight.sum()) / max(1, graph.num_nets)
    scale = max(1.0, float(graph.load.mean()), FEW * weight)
    hot, cold = hottest * scale, COLD * scale
    steps = hot * (cold / hot) ** (np.arange(SLICES + 1) / SLICES)
    if pace_s > 0 and clock.remaining_s() < pace_s * length:
        length = int(max(0.0, clock.remaining_s()) / pace_s)
    share = max(LEAST, length // SLICES)
    started, done = monotonic(), 0
    for i in range(SLICES):
        search.anneal(price, float(steps[i]), float(steps[i + 1]), share)
        done += share
        pace_s = (monotonic() - started) / done
        if clock.out_of_time():
            break
        affordable = clock.remaining_s() / max(1, SLICES - 1 - i)
        if affordable < pace_s * share:
            share = max(LEAST, int(affordable / pace_s))
    return pace_s


def _rating(found: Found) -> tuple[int, int]:
    return found[:2]


def _better(best: Found, search: SwapSearch) -> Found:
    found = (search.excess, search.value, search.part.copy())
    if search.best_value < UNSET:
        found = (0, search.best_value, search.best.copy())
    return min(best, found, key=_rating)
