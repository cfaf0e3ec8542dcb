"""Directed links and one deterministic route for every (source, destination) pair."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from moeplace.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Topology:
    """A fabric: directed links with bandwidth and latency, and fixed routes over them.

    Attributes
    ----------
    num_ranks
        Devices R.
    node_of_rank
        (ranks,) the node of each rank, 0.. in order.
    link_names
        One readable name per directed link.
    bandwidth_Bps
        (links,) bytes per second.
    latency_s
        (links,) seconds added by crossing the link.
    reverse_link
        (links,) the link that carries traffic the opposite way.
    route_start, route_links
        Compressed rows: the links of the route s → d are
        ``route_links[route_start[s * R + d] : route_start[s * R + d + 1]]``, in order.
    shape
        (rows, columns) of a mesh, None elsewhere.
    """

    num_ranks: int
    node_of_rank: NDArray[np.int64]
    link_names: tuple[str, ...]
    bandwidth_Bps: NDArray[np.float64]
    latency_s: NDArray[np.float64]
    reverse_link: NDArray[np.int64]
    route_start: NDArray[np.int64]
    route_links: NDArray[np.int64]
    shape: tuple[int, int] | None = None

    @property
    def num_links(self) -> int:
        """Directed links."""
        return len(self.link_names)

    @property
    def num_nodes(self) -> int:
        """Nodes, groups of ranks that share the fast tier."""
        return int(self.node_of_rank[-1]) + 1

    def route(self, source: int, destination: int) -> NDArray[np.int64]:
        """Return the link indices from `source` to `destination`, in order."""
        pair = source * self.num_ranks + destination
        return self.route_links[self.route_start[pair] : self.route_start[pair + 1]]

    def hops(self) -> NDArray[np.int64]:
        """Return (ranks, ranks) links on each route."""
        return np.diff(self.route_start).reshape(self.num_ranks, self.num_ranks)


def mesh(rows: int, columns: int, *, bandwidth_Bps: float, latency_s: float) -> Topology:
    """Return a 2-D mesh with dimension-ordered XY routing.

    Rank ``row * columns + column`` sits at (row, column). A message first travels along its
    row (X), then along the destination's column (Y). The whole mesh is one node.

    Raises
    ------
    InputError
        If a side is smaller than 1.
    """
    if rows < 1 or columns < 1:
        raise InputError(f"mesh {rows}x{columns}: both sides must be at least 1")
    index: dict[tuple[int, int], int] = {}
    for row in range(rows):
        for column in range(columns):
            here = row * columns + column
            if column + 1 < columns:
                index[here, here + 1] = len(index)
                index[here + 1, here] = len(index)
            if row + 1 < rows:
                index[here, here + columns] = len(index)
                index[here + columns, here] = len(index)
    routes: list[list[int]] = []
    for source in range(rows * columns):
        for destination in range(rows * columns):
            here, path = source, []
            row_end = (source // columns) * columns + destination % columns
            for goal, stride in ((row_end, 1), (destination, columns)):
                step = stride if goal > here else -stride
                while here != goal:
                    path.append(index[here, here + step])
                    here += step
            routes.append(path)
    return assemble(
        node_of_rank=np.zeros(rows * columns, np.int64),
        names=tuple(f"{a}->{b}" for a, b in index),
        bandwidth_Bps=np.full(len(index), float(bandwidth_Bps)),
        latency_s=np.full(len(index), float(latency_s)),
        reverse=np.array([index[b, a] for a, b in index], np.int64),
        routes=routes,
        shape=(rows, columns),
    )


def cluster(
    ranks: int,
    node_size: int,
    *,
    intra_Bps: float,
    inter_Bps: float,
    intra_latency_s: float,
    inter_latency_s: float,
) -> Topology:
    """Return nodes of devices behind a non-blocking switch, joined by one NIC per device.

    Every rank has an intra-node link out and in; where there are several nodes it also has a
    NIC link out and in. Ranks fill nodes in order. The latency of a tier is charged once, on
    the outgoing link.

    Raises
    ------
    InputError
        If there is no rank or no room in a node.
    """
    if ranks < 1 or node_size < 1:
        raise InputError(f"cluster of {ranks} ranks in nodes of {node_size}: both must be >= 1")
    node = np.arange(ranks, dtype=np.int64) // node_size
    tiers = 2 if node[-1] > 0 else 1
    names = [
        f"{tier}-{way} {rank}"
        for tier in ("fast", "nic")[:tiers]
        for way in ("out", "in")
        for rank in range(ranks)
    ]
    routes: list[list[int]] = []
    for source in range(ranks):
        for destination in range(ranks):
            if source == destination:
                routes.append([])
            else:
                first = 0 if node[source] == node[destination] else 2 * ranks
                routes.append([first + source, first + ranks + destination])
    links = np.arange(2 * ranks * tiers)
    return assemble(
        node_of_rank=node,
        names=tuple(names),
        bandwidth_Bps=np.repeat([float(intra_Bps), float(inter_Bps)][:tiers], 2 * ranks),
        latency_s=np.concatenate(
            [
                np.repeat([float(latency), 0.0], ranks)
                for latency in (intra_latency_s, inter_latency_s)[:tiers]
            ]
        ),
        reverse=np.where(links // ranks % 2 == 0, links + ranks, links - ranks),
        routes=routes,
        shape=None,
    )


def assemble(
    *,
    node_of_rank: NDArray[np.int64],
    names: tuple[str, ...],
    bandwidth_Bps: NDArray[np.float64],
    latency_s: NDArray[np.float64],
    reverse: NDArray[np.int64],
    routes: list[list[int]],
    shape: tuple[int, int] | None,
) -> Topology:
    """Return a topology from its links and one list of links per (source, destination)."""
    start = np.zeros(len(routes) + 1, np.int64)
    np.cumsum([len(route) for route in routes], out=start[1:])
    flat = np.array([link for route in routes for link in route], np.int64)
    arrays = (node_of_rank, bandwidth_Bps, latency_s, reverse, start, flat)
    for array in arrays:
        array.setflags(write=False)
    return Topology(
        num_ranks=node_of_rank.size,
        node_of_rank=node_of_rank,
        link_names=names,
        bandwidth_Bps=bandwidth_Bps,
        latency_s=latency_s,
        reverse_link=reverse,
        route_start=start,
        route_links=flat,
        shape=shape,
    )
