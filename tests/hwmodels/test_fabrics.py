"""Torus, full mesh, dragonfly, fat tree, wafers and graphs of one's own."""

from __future__ import annotations

import networkx as nx
import numpy as np
import pytest

from moeplace.errors import InputError
from moeplace.hwmodels import edges_of_graph, load_system
from moeplace.hwmodels.fabrics import Tiers, build, custom, wire

TIERS = Tiers(100.0, 0.1, 10.0, 1.0)
NAMES = ("torus:3x4", "torus:1x5", "torus:2x2", "full:6", "dragonfly:4x2x2", "fat-tree:3x4:2",
         "wafers:2x2x3")  # fmt: skip


def graph_of(name: str) -> nx.Graph:
    wiring = wire(name, TIERS)
    graph = nx.Graph()
    graph.add_edges_from((a, b) for a, b, _, _ in wiring.edges)
    return graph


@pytest.mark.parametrize("name", NAMES)
def test_routes_are_shortest_and_connected(name: str) -> None:
    """Every route starts at the source, ends at the destination and is as short as possible."""
    topology = build(wire(name, TIERS))
    distance = dict(nx.all_pairs_shortest_path_length(graph_of(name)))
    ends = [link.split("->") for link in topology.link_names]
    for source in range(topology.num_ranks):
        for destination in range(topology.num_ranks):
            route = topology.route(source, destination)
            assert route.size == distance[source][destination]
            here = str(source)
            for link in route:
                assert ends[link][0] == here
                here = ends[link][1]
            assert here == str(destination)


@pytest.mark.parametrize("name", NAMES)
def test_routes_of_a_source_are_a_tree(name: str) -> None:
    """A multicast copies nothing twice: every vertex is entered over one link from a source."""
    topology = build(wire(name, TIERS))
    for source in range(topology.num_ranks):
        entered: dict[str, int] = {}
        for destination in range(topology.num_ranks):
            for link in topology.route(source, destination):
                end = topology.link_names[link].split("->")[1]
                assert entered.setdefault(end, int(link)) == int(link)


@pytest.mark.parametrize("name", NAMES)
def test_reverse_links(name: str) -> None:
    """The reverse of a link joins the same vertices the other way, as fast."""
    topology = build(wire(name, TIERS))
    for link, reverse in enumerate(topology.reverse_link):
        start, end = topology.link_names[link].split("->")
        assert topology.link_names[reverse] == f"{end}->{start}"
        assert topology.bandwidth_Bps[link] == topology.bandwidth_Bps[reverse]


def test_a_torus_halves_the_way() -> None:
    """The farthest die of a 6x6 torus is 6 hops away, of the mesh 10."""
    assert int(load_system("torus:6x6").topology.hops().max()) == 6
    assert int(load_system("mesh:6x6").topology.hops().max()) == 10


def test_oversubscription_is_on_the_uplinks() -> None:
    """Uplinks of a leaf of 8 at 2:1 carry what 4 ranks send."""
    one, two = (wire(f"fat-tree:4x8:{o}", TIERS).edges[-1][2] for o in (1, 2))
    assert (one, two) == (800.0, 400.0)


def test_nodes_follow_the_fabric() -> None:
    """Wafers, leaves and groups are nodes; a torus is one."""
    for name, nodes in (("wafers:3x2x2", 3), ("fat-tree:4x8:2", 4), ("dragonfly:5x2x2", 5)):
        system = load_system(name)
        assert system.num_nodes == nodes == system.topology.num_nodes
    assert load_system("torus:3x3").num_nodes == 1


@pytest.mark.parametrize(
    "name",
    ["torus:3", "torus:0x3", "full:3x3", "fat-tree:2x4:0.5", "wafers:2x2", "torus:3x3:2",
     "torus:99x99", "dragonfly:2x2", "torus:axb"],
)  # fmt: skip
def test_malformed_names(name: str) -> None:
    """A wrong name is an input error that shows the form."""
    with pytest.raises(InputError, match=r"fabric|ranks"):
        load_system(name)


def test_a_graph_of_ones_own() -> None:
    """A networkx graph with a switch becomes the same topology as the edges written out."""
    graph = nx.Graph()
    graph.add_node("s", switch=True)
    for rank in range(3):
        graph.add_node(rank)
        graph.add_edge(rank, "s", GBps=50.0, latency_us=0.5)
    edges = edges_of_graph(graph)
    assert {(*sorted(edge[:2]), *edge[2:]) for edge in edges} == {
        (rank, 3, 50.0, 0.5) for rank in range(3)
    }
    base = load_system("full:3")
    system = base.replace(fabric="", edges=edges, node_size=3)
    assert system.topology.hops().tolist() == (2 * (1 - np.eye(3, dtype=int))).tolist()
    assert system.plan("rank").uniform_latency_s.max() == pytest.approx(1e-6)


def test_bad_graphs() -> None:
    """Ranks that cannot be reached, loops and edges without bandwidth are refused."""
    with pytest.raises(InputError, match="rank 2 cannot be reached"):
        build(custom(3, 3, [(0, 1, 1.0, 0.0)]))
    with pytest.raises(InputError, match="edge 0 - 0"):
        build(custom(1, 1, [(0, 0, 1.0, 0.0)]))
    with pytest.raises(InputError, match="bandwidth GBps"):
        edges_of_graph(nx.path_graph(2))
    with pytest.raises(InputError, match="either fabric or edges"):
        load_system("full:3").replace(edges=((0, 1, 1.0, 0.0),))


def test_a_graph_in_a_system_file(tmp_path) -> None:
    """A YAML file of kind graph with edges loads; a wrong fabric is told with the file."""
    text = """
name: pair
summary: two devices and a switch
kind: graph
constants:
  ranks: {value: 2, source: test}
  link_GBps: {value: 50, source: test}
  hbm_GBps: {value: 3350, source: test}
  hbm_GB: {value: 80, source: test}
  peak_tflops: {value: {bf16: 989}, source: test}
  edges: {value: [[0, 2, 50, 0.5], [1, 2, 50, 0.5]], source: test}
"""
    path = tmp_path / "pair.yaml"
    path.write_text(text)
    assert load_system(path).topology.num_links == 4
    path.write_text(text.replace("edges: {value: [[0, 2, 50, 0.5], [1, 2, 50, 0.5]]",
                                 "fabric: {value: 'torus:2x2'"))  # fmt: skip
    with pytest.raises(InputError, match="has 4 ranks, not 2"):
        _ = load_system(path).topology
