"""Which search fits an instance, from which partitions it starts, and what can be ruled out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from moeplace.errors import LimitError
from moeplace.formulations.partition.annealing import search_by_annealing
from moeplace.formulations.partition.evolution import search_by_evolution
from moeplace.formulations.partition.room import (
    UNSET,
    Room,
    contiguous,
    longest_first,
    refuse_impossible,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from moeplace.formulations.partition.clock import Clock
    from moeplace.formulations.partition.hypergraph import Hypergraph, Instance

MOST_ANNEALED = 1024  # experts above which levels beat annealing (and pair weights get large)
ROUNDS_ANNEALED = 4  # without any limit
ROUNDS_EVOLVED = 24
CAP_TOLERANCE = 1e-9  # relative; fractional weights are rounded to integer units


@dataclass(frozen=True, eq=False)
class Partition:
    """A partition of experts over ranks.

    Attributes
    ----------
    rank_of_expert
        (experts,) int32.
    connectivity
        Σ_t w_t · λ_t as the search counted it.
    rounds
        Rounds of the search after its starts.
    """

    rank_of_expert: NDArray[np.int32]
    connectivity: float
    rounds: int


def search(
    instance: Instance,
    slots: NDArray[np.int64],
    *,
    max_load: float | None,
    clock: Clock,
    seed: int,
    initial: list[NDArray[np.int32]],
) -> Partition:
    """Return the best partition found, see :func:`moeplace.partition`.

    Parameters
    ----------
    slots
        (ranks,) most experts on each rank.

    Raises
    ------
    InfeasibleError
        If no partition can meet `max_load`.
    LimitError
        If none was found that does.
    """
    graph = instance.graph
    room = Room(slots, np.full(slots.size, UNSET))
    plain = [contiguous(graph.num_vertices, slots)]
    if max_load is not None:
        cap = int(max_load * (1 + CAP_TOLERANCE) * (int(graph.load.sum()) / slots.size))
        refuse_impossible(graph.load, room, cap, max_load)
        room = Room(slots, np.full(slots.size, cap))
        plain.append(longest_first(graph.load, slots))
    small = graph.num_vertices <= MOST_ANNEALED
    if clock.time_limit_s is None and clock.max_rounds is None:
        clock.max_rounds = ROUNDS_ANNEALED if small else ROUNDS_EVOLVED
    lower = fewest_ranks(graph, int(slots.max()))
    if small:
        over, value, part = search_by_annealing(graph, room, [*initial, *plain], lower, clock, seed)
    else:
        cut = search_by_evolution(graph, room, initial, plain, lower, clock, seed)
        over, value, part = cut.over, cut.value, cut.part
    if over > 0:
        raise LimitError(
            f"no partition with at most {max_load:g} mean rank loads on a rank was found within "
            "the limit; allow more time or more load"
        )
    total = (value + instance.constant) * instance.unit
    return Partition(part.astype(np.int32), total, clock.rounds)


def fewest_ranks(graph: Hypergraph, slots: int) -> int:
    """Return Σ w · ⌈set size / slots⌉: no partition touches fewer ranks."""
    return int(graph.net_weight @ -(-np.diff(graph.net_start) // slots))
