"""Where ranks and links lie on the drawing of a system; no colors, no loads."""

from __future__ import annotations

import math
import re
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from moeplace.hwmodels import System
    from moeplace.hwmodels.topology import Topology

CELL, GAP, SIDE = 60.0, 44.0, 9.0  # tile of a mesh, room for its links, half the way between two
SMALL, STUB, AIR = 38.0, 26.0, 8.0  # tile of a cluster, length of its links, room around
WIDEST = 18  # tiles beside each other in a node
PAGE = 1060.0  # nodes are put beside each other up to this width


@dataclass(frozen=True)
class Box:
    """A rectangle: a rank, or a node with a label."""

    x: float
    y: float
    w: float
    h: float
    label: str = ""


@dataclass(frozen=True)
class Wire:
    """A directed link from one point to another."""

    link: int
    x1: float
    y1: float
    x2: float
    y2: float


@dataclass(frozen=True)
class Drawing:
    """A system as it is drawn, in a frame of `width` × `height`.

    Attributes
    ----------
    tiles
        One a rank, in order.
    wires
        Links; those that no point in the frame stands for are left out.
    boxes
        Nodes, and switches of a graph.
    across
        Ranks in a row, for keys that move up and down.
    widest
        How thick a fully loaded link may be.
    """

    width: float
    height: float
    tiles: tuple[Box, ...]
    wires: tuple[Wire, ...]
    boxes: tuple[Box, ...]
    across: int
    widest: float

    def to_dict(self) -> dict[str, Any]:
        """Return the drawing for the page, tenths of a unit."""
        plain: dict[str, Any] = asdict(self)
        for parts in ("tiles", "wires", "boxes"):
            plain[parts] = [
                [round(v, 1) if isinstance(v, float) else v for v in part.values()]
                for part in plain[parts]
            ]
        return plain


def draw_system(system: System) -> Drawing:
    """Return the drawing of a mesh, of nodes behind switches, or of any graph."""
    topology = system.topology
    if topology.shape is not None:
        return _grid(topology, *topology.shape)
    if system.kind == "cluster":
        return _nodes(topology)
    sizes = [int(n) for n in re.findall(r"\d+", system.fabric)]
    if system.fabric.startswith("torus"):
        return _grid(topology, sizes[0], sizes[1])
    if system.fabric.startswith("wafers"):
        return _grid(topology, sizes[1], sizes[2], wafers=sizes[0])
    return _circle(topology)


def _grid(topology: Topology, rows: int, columns: int, wafers: int = 1) -> Drawing:
    """Place dies in rows; links around the edge are stubs that leave the die they start from."""
    step, margin = CELL + GAP, 40.0
    dies = rows * columns
    place = {}
    for rank in range(topology.num_ranks):
        wafer, die = divmod(rank, dies)
        row, column = divmod(die, columns)
        place[rank] = (margin + (wafer * (columns + 0.6) + column) * step, margin + row * step)
    wires = [
        _between(link, place[start], place[end], step)
        for link, (start, end) in enumerate(_ends(topology))
        if start in place and end in place
    ]
    right = max(x for x, _ in place.values())
    return Drawing(
        right + CELL + margin,
        margin * 2 + (rows - 1) * step + CELL,
        tuple(Box(x, y, CELL, CELL) for x, y in place.values()),
        tuple(wires),
        (),
        columns,
        2 * SIDE - 4,
    )


def _between(link: int, start: tuple[float, float], end: tuple[float, float], step: float) -> Wire:
    """Join two dies: the two directions of a link keep to their right."""
    dx, dy = end[0] - start[0], end[1] - start[1]
    far = math.hypot(dx, dy)
    ux, uy = dx / far, dy / far
    half, near = CELL / 2, CELL / 2 + 4
    around = far > 1.7 * step
    if around:
        ux, uy = -ux, -uy
    x, y = start[0] + half - uy * SIDE, start[1] + half + ux * SIDE
    reach = near + STUB if around else far - near
    return Wire(link, x + ux * near, y + uy * near, x + ux * reach, y + uy * reach)


def _ends(topology: Topology) -> list[tuple[int, int]]:
    """Return both ends of every link ``a->b``; switches are numbered behind the ranks."""
    ends = []
    for name in topology.link_names:
        one, other = (
            int(text.removeprefix("switch ")) + topology.num_ranks * text.startswith("switch ")
            for text in name.split("->")
        )
        ends.append((one, other))
    return ends


def _nodes(topology: Topology) -> Drawing:
    """Draw every node as a box of ranks; stubs up are links in the node, stubs down are NICs."""
    ranks, tiers = topology.num_ranks, topology.num_links // (2 * topology.num_ranks)
    nodes = topology.num_nodes
    size = max(int((topology.node_of_rank == n).sum()) for n in range(nodes))
    across = size if size <= 12 else min(WIDEST, -(-size // 4))
    rows = -(-size // across)
    cell_w, cell_h = SMALL + AIR, SMALL + STUB * tiers + 2 * AIR + 8
    box_w, box_h = across * cell_w + AIR + 8, rows * cell_h + 14
    beside = max(1, min(nodes, int(PAGE // (box_w + 16))))
    tiles, wires, boxes = [], [], []
    for rank in range(ranks):
        node = int(topology.node_of_rank[rank])
        index = rank - int((topology.node_of_rank < node).sum())
        left = 8 + node % beside * (box_w + 16)
        top = 8 + node // beside * (box_h + 16)
        if index == 0:
            boxes.append(Box(left, top, box_w, box_h, f"node {node}"))
        x = left + AIR + 4 + index % across * cell_w
        y = top + 26 + index // across * cell_h + STUB
        tiles.append(Box(x, y, SMALL, SMALL))
        out, back = x + SMALL * 0.3, x + SMALL * 0.7
        wires.append(Wire(rank, out, y - 2, out, y - STUB))
        wires.append(Wire(ranks + rank, back, y - STUB, back, y - 2))
        if tiers > 1:
            low = y + SMALL
            wires.append(Wire(2 * ranks + rank, out, low + 2, out, low + STUB))
            wires.append(Wire(3 * ranks + rank, back, low + STUB, back, low + 2))
    return Drawing(
        beside * (box_w + 16),
        -(-nodes // beside) * (box_h + 16),
        tuple(tiles),
        tuple(wires),
        tuple(boxes),
        across,
        SMALL * 0.34,
    )


def _circle(topology: Topology) -> Drawing:
    """Put ranks on a circle and switches on a smaller one."""
    ends, ranks = _ends(topology), topology.num_ranks
    vertices = 1 + max((max(pair) for pair in ends), default=ranks - 1)
    radius = max(200.0, ranks * (SMALL * 1.42 + 4) / (2 * math.pi))
    inner = radius * 0.5
    center = radius + SMALL + 10
    place = []
    for vertex in range(max(vertices, ranks)):
        outside = vertex < ranks
        count = ranks if outside else vertices - ranks
        index = vertex if outside else vertex - ranks
        # Switches lie behind the middle of their ranks.
        angle = 2 * math.pi * (index + (0.0 if outside else 0.5 - 0.5 * count / ranks)) / count
        far = radius if outside else inner * (count > 1)
        place.append((center + far * math.sin(angle), center - far * math.cos(angle)))
    wires = []
    for link, (one, other) in enumerate(ends):
        (ax, ay), (bx, by) = place[one], place[other]
        far = math.hypot(bx - ax, by - ay) or 1.0
        ux, uy = (bx - ax) / far, (by - ay) / far
        cut = SMALL / 2 + 3
        wires.append(
            Wire(
                link,
                ax + ux * cut - uy * 3,
                ay + uy * cut + ux * 3,
                bx - ux * cut - uy * 3,
                by - uy * cut + ux * 3,
            )
        )
    half = SMALL / 2
    return Drawing(
        2 * center,
        2 * center,
        tuple(Box(x - half, y - half, SMALL, SMALL) for x, y in place[:ranks]),
        tuple(wires),
        tuple(Box(x - 10, y - 10, 20, 20, "") for x, y in place[ranks:]),
        1,
        5.0,
    )
