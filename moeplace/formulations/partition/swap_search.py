"""The state of a search by swaps, and the two ways to go on from it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from moeplace.formulations.partition.kernels import count_ranks
from moeplace.formulations.partition.room import UNSET
from moeplace.formulations.partition.swap_kernels import search_swaps

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from moeplace.formulations.partition.clock import Clock
    from moeplace.formulations.partition.hypergraph import Hypergraph
    from moeplace.formulations.partition.room import Room

SWEEPS = 50  # of a descent over all pairs, at most
LOOK = 4096  # swaps of a descent between two looks at the clock


class SwapSearch:
    """State of a search by swaps; arrays as in the kernels.

    Parameters
    ----------
    graph
        Vertices of size 1.
    room
        What ranks may hold.
    part
        (vertices,) where to start; within the slots.
    seed
        Of the annealing's generator.
    """

    def __init__(self, graph: Hypergraph, room: Room, part: NDArray[np.int32], seed: int) -> None:
        self.graph = graph
        vertices, ranks = graph.num_vertices, room.ranks
        self.part = part.astype(np.int32)
        self.best = self.part.copy()
        count = np.zeros((graph.num_nets, ranks), np.uint16)
        enter = np.zeros((vertices, ranks), np.int64)
        leave = np.zeros(vertices, np.int64)
        value = count_ranks(
            graph.net_start, graph.pin, graph.net_weight, self.part, count, enter, leave
        )
        base = np.cumsum(room.slots) - room.slots
        order = np.argsort(self.part, kind="stable")
        first = np.searchsorted(self.part[order], np.arange(ranks))
        slot = np.empty(vertices, np.int32)
        slot[order] = (base - first)[self.part[order]] + np.arange(vertices)
        rank_of_slot = np.repeat(np.arange(ranks, dtype=np.int32), room.slots)
        table = np.full(rank_of_slot.size, -1, np.int32)
        table[slot] = np.arange(vertices, dtype=np.int32)
        rank_load = np.zeros(ranks, np.int64)
        np.add.at(rank_load, self.part, graph.load)
        excess = int(np.maximum(0, rank_load - room.load).sum())
        self._figures = np.array([value, excess, UNSET if excess else value, 0], np.int64)
        self._random = np.random.default_rng(seed).integers(1, 2**63, 1, dtype=np.uint64)
        self._arrays = (
            graph.net_start, graph.pin, graph.net_weight, graph.vertex_start, graph.net,
            graph.load, self.part, count, enter, leave, table, slot, rank_of_slot, rank_load,
            room.load,
        )  # fmt: skip

    @property
    def excess(self) -> int:
        """Load above the caps now."""
        return int(self._figures[1])

    @property
    def value(self) -> int:
        """Σ w · λ now."""
        return int(self._figures[0])

    @property
    def best_value(self) -> int:
        """Σ w · λ of the best partition within the caps, 2^62 without any."""
        return int(self._figures[2])

    def descend(self, price: float, clock: Clock) -> None:
        """Take every swap that helps, until none does or the time is over."""
        every = self.graph.num_vertices * self._arrays[10].size
        begin = quiet = 0
        while quiet < every and begin < SWEEPS * every and (begin == 0 or not clock.out_of_time()):
            before = self._figures[3]
            self._propose(price, 0.0, 0.0, begin, min(LOOK, every))
            begin += min(LOOK, every)
            quiet = quiet + LOOK if self._figures[3] == before else 0

    def anneal(self, price: float, hot: float, cold: float, proposals: int) -> None:
        """Propose random swaps while the temperature falls."""
        self._propose(price, hot, cold, 0, proposals)

    def _propose(self, price: float, hot: float, cold: float, begin: int, proposals: int) -> None:
        search_swaps(
            *self._arrays, float(price), self._figures, self.best, self._random, hot, cold,
            begin, proposals,
        )  # fmt: skip
