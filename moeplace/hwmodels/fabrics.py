"""Fabrics beside meshes and clusters: torus, full mesh, dragonfly, fat tree, wafers, any graph.

Each is a set of directed links between vertices; the first vertices are the ranks, the others are
switches. Messages follow one deterministic way: dimension order on a torus (the shorter way
around), elsewhere the way with the fewest links, the lowest vertex first, which from every source
is a tree.
"""

from __future__ import annotations

import re
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from moeplace.errors import InputError
from moeplace.hwmodels.topology import assemble

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    import networkx as nx

    from moeplace.hwmodels.topology import Topology

MOST_RANKS = 1024
# Edge (vertex, vertex, GB/s each way, latency in µs).
Edge = tuple[int, int, float, float]
FORMS = {
    "torus": "torus:RxC",
    "full": "full:N",
    "dragonfly": "dragonfly:GROUPSxROUTERSxDEVICES",
    "fat-tree": "fat-tree:LEAVESxRANKS:OVERSUBSCRIPTION",
    "wafers": "wafers:NxRxC",
}
PATTERN = re.compile(r"(torus|full|dragonfly|fat-tree|wafers):(\d+(?:x\d+)*)(?::(\d+(?:\.\d+)?))?")


@dataclass(frozen=True)
class Tiers:
    """Usable bandwidth and latency of the fast and the slow links of a fabric.

    Attributes
    ----------
    fast_GBps, fast_us
        Links inside a node, a wafer, a group.
    slow_GBps, slow_us
        Links between them.
    """

    fast_GBps: float
    fast_us: float
    slow_GBps: float
    slow_us: float


@dataclass(frozen=True)
class Wiring:
    """Ranks, edges and nodes of a fabric.

    Attributes
    ----------
    ranks, node_size
        Devices, and how many of them are one node.
    edges
        Both directions of each edge exist.
    ring
        (rows, columns) of a torus, which is routed by dimension order.
    """

    ranks: int
    node_size: int
    edges: tuple[Edge, ...]
    ring: tuple[int, int] | None = None


def is_fabric(name: str) -> bool:
    """Whether a system name asks for one of these fabrics."""
    return name.split(":", 1)[0] in FORMS and ":" in name


def wire(name: str, tiers: Tiers) -> Wiring:
    """Return the wiring that a name like ``torus:4x4`` stands for.

    Raises
    ------
    InputError
        If the name is malformed, too large, or a size is 0.
    """
    match = PATTERN.fullmatch(name)
    kind = name.split(":", 1)[0]
    if match is None:
        raise InputError(f"fabric {name!r}: write {FORMS.get(kind, ' or '.join(FORMS.values()))}")
    sizes = [int(part) for part in match[2].split("x")]
    wanted = {"torus": 2, "full": 1, "dragonfly": 3, "fat-tree": 2, "wafers": 3}[kind]
    if len(sizes) != wanted or min(sizes) < 1 or (match[3] and kind != "fat-tree"):
        raise InputError(f"fabric {name!r}: write {FORMS[kind]}, every size at least 1")
    if int(np.prod(sizes)) > MOST_RANKS:
        raise InputError(f"fabric {name!r}: at most {MOST_RANKS} ranks")
    if kind == "torus":
        return _torus(sizes[0], sizes[1], tiers)
    if kind == "full":
        return _full(sizes[0], tiers)
    if kind == "dragonfly":
        return _dragonfly(*sizes, tiers=tiers)
    if kind == "wafers":
        return _wafers(*sizes, tiers=tiers)
    over = float(match[3] or 1)
    if over < 1:
        raise InputError(f"fabric {name!r}: oversubscription is at least 1")
    return _fat_tree(sizes[0], sizes[1], over, tiers)


def edges_of_graph(graph: nx.Graph[Any], default_GBps: float = 0.0) -> tuple[Edge, ...]:
    """Return the edges of an undirected networkx graph, for ``System.replace(edges=...)``.

    Nodes are renumbered in order, ranks first: nodes with the attribute ``switch`` true come last.
    Edge attributes ``GBps`` and ``latency_us`` are read.

    Raises
    ------
    InputError
        If an edge has no bandwidth.
    """
    order = sorted(graph.nodes, key=lambda node: bool(graph.nodes[node].get("switch")))
    number = {node: index for index, node in enumerate(order)}
    edges = []
    for one, other, data in graph.edges(data=True):
        bandwidth = float(data.get("GBps", default_GBps))
        if not bandwidth > 0:
            raise InputError(f"graph edge {one} - {other}: give it a bandwidth GBps above 0")
        edges.append((number[one], number[other], bandwidth, float(data.get("latency_us", 0.0))))
    return tuple(edges)


def build(wiring: Wiring, names: Mapping[int, str] | None = None) -> Topology:
    """Return links and routes of a wiring.

    Raises
    ------
    InputError
        If a rank cannot reach another, or an edge is malformed.
    """
    index: dict[tuple[int, int], int] = {}
    bandwidth: list[float] = []
    latency: list[float] = []
    for one, other, rate, delay in wiring.edges:
        if one == other or min(one, other) < 0 or not rate > 0 or delay < 0:
            raise InputError(f"edge {one} - {other}: needs two ends, a bandwidth and a latency")
        for way in ((one, other), (other, one)):
            if way in index:  # parallel edges add up
                bandwidth[index[way]] += rate * 1e9
                continue
            index[way] = len(index)
            bandwidth.append(rate * 1e9)
            latency.append(delay * 1e-6)
    if wiring.ring is not None:
        routes = _ring_routes(wiring.ring, index)
    else:
        routes = _shortest_routes(wiring.ranks, index)
    label = names or {}
    return assemble(
        node_of_rank=np.arange(wiring.ranks, dtype=np.int64) // wiring.node_size,
        names=tuple(
            f"{_name(a, wiring.ranks, label)}->{_name(b, wiring.ranks, label)}" for a, b in index
        ),
        bandwidth_Bps=np.array(bandwidth),
        latency_s=np.array(latency),
        reverse=np.array([index[b, a] for a, b in index], np.int64),
        routes=routes,
        shape=None,
    )


def _name(vertex: int, ranks: int, names: Mapping[int, str]) -> str:
    return names.get(vertex, str(vertex) if vertex < ranks else f"switch {vertex - ranks}")


def _shortest_routes(ranks: int, index: Mapping[tuple[int, int], int]) -> list[list[int]]:
    """Return the links of every route, breadth first from each source, lowest vertex first."""
    neighbors: dict[int, list[int]] = {}
    for one, other in index:
        neighbors.setdefault(one, []).append(other)
    for listed in neighbors.values():
        listed.sort()
    routes: list[list[int]] = []
    for source in range(ranks):
        before = {source: source}
        queue = deque([source])
        while queue:
            here = queue.popleft()
            for there in neighbors.get(here, ()):
                if there not in before:
                    before[there] = here
                    queue.append(there)
        for destination in range(ranks):
            if destination not in before:
                raise InputError(f"rank {destination} cannot be reached from rank {source}")
            path = []
            here = destination
            while here != source:
                path.append(index[before[here], here])
                here = before[here]
            routes.append(path[::-1])
    return routes


def _ring_routes(ring: tuple[int, int], index: Mapping[tuple[int, int], int]) -> list[list[int]]:
    """Return torus routes: along the row, then the column, the shorter way around, up on ties."""
    rows, columns = ring
    routes = []
    for source in range(rows * columns):
        for destination in range(rows * columns):
            row, column = divmod(source, columns)
            goal_row, goal_column = divmod(destination, columns)
            path = []
            for step in _steps(column, goal_column, columns):
                here, column = row * columns + column, (column + step) % columns
                path.append(index[here, row * columns + column])
            for step in _steps(row, goal_row, rows):
                here, row = row * columns + column, (row + step) % rows
                path.append(index[here, row * columns + column])
            routes.append(path)
    return routes


def _steps(start: int, goal: int, size: int) -> Iterable[int]:
    ahead = (goal - start) % size
    return [1] * ahead if ahead <= size - ahead else [-1] * (size - ahead)


def _torus(rows: int, columns: int, tiers: Tiers) -> Wiring:
    edges: set[tuple[int, int]] = set()
    for row in range(rows):
        for column in range(columns):
            here = row * columns + column
            for there in (
                row * columns + (column + 1) % columns,
                (row + 1) % rows * columns + column,
            ):
                if here != there:
                    edges.add((min(here, there), max(here, there)))
    return Wiring(
        rows * columns,
        rows * columns,
        tuple((a, b, tiers.fast_GBps, tiers.fast_us) for a, b in sorted(edges)),
        ring=(rows, columns),
    )


def _full(ranks: int, tiers: Tiers) -> Wiring:
    """Wire every pair; a device's bandwidth is shared evenly by its links."""
    each = tiers.fast_GBps / max(ranks - 1, 1)
    edges = [(a, b, each, tiers.fast_us) for a in range(ranks) for b in range(a + 1, ranks)]
    return Wiring(ranks, ranks, tuple(edges))


def _dragonfly(groups: int, routers: int, devices: int, *, tiers: Tiers) -> Wiring:
    """Wire groups of fully connected routers, one link between every two groups.

    Device and local links are fast. The link to the g-th next group leaves from router g modulo
    the routers of a group (Kim et al., ISCA 2008, consecutive arrangement).
    """
    ranks = groups * routers * devices

    def router(group: int, number: int) -> int:
        return ranks + group * routers + number

    edges: list[Edge] = [
        (rank, ranks + rank // devices, tiers.fast_GBps, tiers.fast_us) for rank in range(ranks)
    ]
    for group in range(groups):
        edges += [
            (router(group, a), router(group, b), tiers.fast_GBps, tiers.fast_us)
            for a in range(routers)
            for b in range(a + 1, routers)
        ]
        for other in range(group + 1, groups):
            out = router(group, (other - group - 1) % routers)
            back = router(other, (group - other - 1) % groups % routers)
            edges.append((out, back, tiers.slow_GBps, tiers.slow_us))
    return Wiring(ranks, routers * devices, tuple(edges))


def _fat_tree(leaves: int, ranks_per_leaf: int, oversubscription: float, tiers: Tiers) -> Wiring:
    """Wire leaf switches to one core; uplinks carry 1/oversubscription of the leaf's ranks."""
    ranks = leaves * ranks_per_leaf
    edges: list[Edge] = [
        (rank, ranks + rank // ranks_per_leaf, tiers.fast_GBps, tiers.fast_us)
        for rank in range(ranks)
    ]
    up = tiers.fast_GBps * ranks_per_leaf / oversubscription
    edges += [(ranks + leaf, ranks + leaves, up, tiers.slow_us) for leaf in range(leaves)]
    return Wiring(ranks, ranks_per_leaf, tuple(edges if leaves > 1 else edges[:ranks]))


def _wafers(count: int, rows: int, columns: int, *, tiers: Tiers) -> Wiring:
    """Wire meshes side by side; dies on facing edges are joined by slow links."""
    dies = rows * columns
    edges: list[Edge] = []
    for wafer in range(count):
        first = wafer * dies
        for row in range(rows):
            for column in range(columns):
                here = first + row * columns + column
                if column + 1 < columns:
                    edges.append((here, here + 1, tiers.fast_GBps, tiers.fast_us))
                if row + 1 < rows:
                    edges.append((here, here + columns, tiers.fast_GBps, tiers.fast_us))
            if wafer + 1 < count:
                here = first + row * columns + columns - 1
                there = first + dies + row * columns
                edges.append((here, there, tiers.slow_GBps, tiers.slow_us))
    return Wiring(count * dies, dies, tuple(edges))


def custom(ranks: int, node_size: int, edges: Sequence[Edge]) -> Wiring:
    """Return the wiring of a graph of your own; vertices from `ranks` on are switches."""
    return Wiring(ranks, node_size or ranks, tuple(edges))
