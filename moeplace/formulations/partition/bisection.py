"""Quick starts: the experts used together, split in two again and again."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from moeplace.formulations.partition.hypergraph import Hypergraph
    from moeplace.formulations.partition.room import Room

LARGE_NET = 100  # longer sets hold too many pairs to say which belong together


def clique_weights(graph: Hypergraph) -> NDArray[np.float64]:
    """Return (vertices, vertices): Σ w / (size − 1) over the sets of both, long ones left out."""
    from scipy.sparse import csr_array

    length = np.diff(graph.net_start)
    weight = np.where(length > LARGE_NET, 0.0, graph.net_weight / (length - 1.0))
    shape = graph.num_nets, graph.num_vertices
    table = csr_array((np.ones(graph.pin.size), graph.pin, graph.net_start), shape)
    scaled = csr_array((np.repeat(weight, length), graph.pin, graph.net_start), shape)
    pairs: NDArray[np.float64] = (table.T @ scaled).toarray()
    np.fill_diagonal(pairs, 0.0)
    return pairs


def bisections(graph: Hypergraph, room: Room, seed: int) -> Iterator[NDArray[np.int32]]:
    """Yield partitions by recursive bisection of the clique weights, without end."""
    random = np.random.default_rng(seed)
    weight = clique_weights(graph)
    while True:
        part = np.zeros(graph.num_vertices, np.int32)
        todo = [(np.arange(graph.num_vertices), 0, room.ranks)]
        while todo:
            members, first, last = todo.pop()
            if last - first == 1 or not members.size:
                part[members] = first
                continue
            middle = (first + last) // 2
            left_room, right_room = room.slots[first:middle].sum(), room.slots[middle:last].sum()
            fair = round(members.size * left_room / (left_room + right_room))
            left = min(left_room, max(members.size - right_room, fair))
            members = random.permutation(members)
            side = bisect(weight[np.ix_(members, members)], int(left))
            todo += [(members[side], first, middle), (members[~side], middle, last)]
        yield part


def bisect(weight: NDArray[np.float64], left: int) -> NDArray[np.bool_]:
    """Split vertices, `left` of them on one side, by greedy growth and best swaps.

    Parameters
    ----------
    weight
        (n, n) symmetric, zero diagonal. The first vertex is the seed, order breaks ties.

    Returns
    -------
    (n,) True for the left side
    """
    n = weight.shape[0]
    side = np.zeros(n, np.bool_)
    pull = np.zeros(n)  # weight to the left side
    for taken in range(left):
        seed = int(np.where(side, -1.0, pull).argmax()) if taken else 0
        side[seed] = True
        pull += weight[seed]
    whole = weight.sum(axis=1)
    if not 0 < left < n:
        return side
    while True:
        gain = whole - 2.0 * pull  # what leaving the left side saves
        ours, theirs = np.flatnonzero(side), np.flatnonzero(~side)
        gains = gain[ours][:, None] - gain[theirs] - 2.0 * weight[np.ix_(ours, theirs)]
        x, y = divmod(int(gains.argmax()), theirs.size)
        out, into = ours[x], theirs[y]
        if gains[x, y] <= 1e-9 * whole[out]:
            return side
        side[out], side[into] = False, True
        pull += weight[into] - weight[out]
