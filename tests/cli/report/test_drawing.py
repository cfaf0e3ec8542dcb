"""Every rank and link has its place, and none covers another."""

from __future__ import annotations

import math
from itertools import combinations

import pytest

from moeplace import load_system
from moeplace.cli.report.drawing import Drawing, draw_system

SYSTEMS = [
    ("wafer", None),
    ("wafer-sow-3x8", None),
    ("mesh:1x1", None),
    ("mesh:1x4", None),
    ("h100-sxm", 32),
    ("h100-sxm", 12),
    ("h100-sxm", 8),
    ("gb200-nvl72", 72),
    ("torus:4x4", None),
    ("torus:2x3", None),
    ("wafers:2x3x3", None),
    ("dragonfly:3x2x2", None),
    ("fat-tree:4x4:2", None),
    ("full:6", None),
]


@pytest.mark.parametrize(("name", "ranks"), SYSTEMS)
def test_everything_is_drawn_once(name: str, ranks: int | None) -> None:
    """One tile a rank, one wire a link, all inside the frame, tiles apart."""
    system = load_system(name, ranks)
    drawing = draw_system(system)
    assert len(drawing.tiles) == system.ranks
    assert sorted(wire.link for wire in drawing.wires) == list(range(system.topology.num_links))
    for tile in (*drawing.tiles, *drawing.boxes):
        assert tile.x >= 0
        assert tile.y >= 0
        assert tile.x + tile.w <= drawing.width
        assert tile.y + tile.h <= drawing.height
    for wire in drawing.wires:
        assert 0 <= min(wire.x1, wire.x2) <= max(wire.x1, wire.x2) <= drawing.width
        assert 0 <= min(wire.y1, wire.y2) <= max(wire.y1, wire.y2) <= drawing.height
        assert math.hypot(wire.x2 - wire.x1, wire.y2 - wire.y1) > 5
    for one, other in combinations(drawing.tiles, 2):
        apart = abs(one.x - other.x) >= one.w or abs(one.y - other.y) >= one.h
        assert apart, (one, other)


def _nearest(drawing: Drawing, x: float, y: float) -> int:
    far = [math.hypot(t.x + t.w / 2 - x, t.y + t.h / 2 - y) for t in drawing.tiles]
    return far.index(min(far))


def test_mesh_arrows_go_where_their_links_go() -> None:
    """An arrow of a mesh starts at the link's first die and ends at its second."""
    system = load_system("mesh:3x4")
    drawing = draw_system(system)
    for wire in drawing.wires:
        start, end = system.topology.link_names[wire.link].split("->")
        assert _nearest(drawing, wire.x1, wire.y1) == int(start)
        assert _nearest(drawing, wire.x2, wire.y2) == int(end)


def test_torus_stubs_leave_the_edge() -> None:
    """A link around a torus starts at its die and points away from the others."""
    drawing = draw_system(load_system("torus:4x4"))
    names = load_system("torus:4x4").topology.link_names
    wire = next(w for w in drawing.wires if names[w.link] == "0->3")
    assert wire.x2 < wire.x1 < drawing.tiles[0].x


def test_cluster_stubs_belong_to_their_rank() -> None:
    """Out and in of both tiers lie at the rank whose link they are."""
    system = load_system("h100-sxm", 16)
    drawing = draw_system(system)
    for wire in drawing.wires:
        rank = int(system.topology.link_names[wire.link].split()[1])
        assert _nearest(drawing, (wire.x1 + wire.x2) / 2, (wire.y1 + wire.y2) / 2) == rank
    assert [box.label for box in drawing.boxes] == ["node 0", "node 1"]
