from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from moeplace.errors import InputError
from moeplace.hwmodels import Topology, cluster, mesh

sides = st.integers(1, 5)


def a_mesh(rows: int, columns: int) -> Topology:
    return mesh(rows, columns, bandwidth_Bps=1e9, latency_s=1e-7)


def a_cluster(ranks: int, node_size: int) -> Topology:
    return cluster(
        ranks, node_size, intra_Bps=8e9, inter_Bps=1e9, intra_latency_s=1e-6, inter_latency_s=5e-6
    )


def ends(topology: Topology, link: int) -> tuple[int, int]:
    start, end = topology.link_names[link].split("->")
    return int(start), int(end)


@given(rows=sides, columns=sides)
def test_mesh_routes_connect(rows: int, columns: int) -> None:
    """Each route is a chain of neighbor links from the source to the destination."""
    topology = a_mesh(rows, columns)
    for source in range(topology.num_ranks):
        for destination in range(topology.num_ranks):
            here = source
            for link in topology.route(source, destination):
                start, here_next = ends(topology, link)
                assert start == here
                assert here_next - start in (1, -1, columns, -columns)
                here = here_next
            assert here == destination


@given(rows=sides, columns=sides)
def test_mesh_goes_along_the_row_first(rows: int, columns: int) -> None:
    """After the first vertical step no horizontal step follows."""
    topology = a_mesh(rows, columns)
    for source in range(topology.num_ranks):
        for destination in range(topology.num_ranks):
            vertical = [
                start // columns != end // columns
                for start, end in (ends(topology, i) for i in topology.route(source, destination))
            ]
            assert vertical == sorted(vertical)


def test_mesh_route_by_hand() -> None:
    """On a 3x4 mesh rank 9 (row 2, column 1) reaches 3 (row 0, column 3) over 10, 11, 7."""
    topology = a_mesh(3, 4)
    names = [topology.link_names[link] for link in topology.route(9, 3)]
    assert names == ["9->10", "10->11", "11->7", "7->3"]


@given(rows=sides, columns=sides)
def test_mesh_hops_are_manhattan(rows: int, columns: int) -> None:
    """Hops are the Manhattan distance: symmetric, triangle inequality, 0 only at home."""
    hops = a_mesh(rows, columns).hops()
    row, column = np.divmod(np.arange(rows * columns), columns)
    manhattan = abs(row[:, None] - row) + abs(column[:, None] - column)
    np.testing.assert_array_equal(hops, manhattan)
    assert (hops[:, None, :] <= hops[:, :, None] + hops[None, :, :]).all()


@given(ranks=st.integers(1, 12), node_size=st.integers(1, 6))
def test_cluster_routes(ranks: int, node_size: int) -> None:
    """A route leaves by the source's port and enters by the destination's, in the right tier."""
    topology = a_cluster(ranks, node_size)
    np.testing.assert_array_equal(topology.node_of_rank, np.arange(ranks) // node_size)
    assert topology.num_nodes == -(-ranks // node_size)
    for source in range(ranks):
        for destination in range(ranks):
            names = [topology.link_names[link] for link in topology.route(source, destination)]
            tier = "fast" if source // node_size == destination // node_size else "nic"
            expected = [f"{tier}-out {source}", f"{tier}-in {destination}"]
            assert names == ([] if source == destination else expected)


def test_cluster_tiers() -> None:
    """Bandwidth is by tier; a route has its tier's latency once."""
    topology = a_cluster(4, 2)
    inside, across = topology.route(0, 1), topology.route(0, 2)
    assert set(topology.bandwidth_Bps[inside]) == {8e9}
    assert set(topology.bandwidth_Bps[across]) == {1e9}
    assert topology.latency_s[inside].sum() == 1e-6
    assert topology.latency_s[across].sum() == 5e-6


def test_one_node_has_no_nic() -> None:
    """A cluster that fits in a node has only the fast tier."""
    assert all(name.startswith("fast") for name in a_cluster(4, 8).link_names)


@pytest.mark.parametrize("topology", [a_mesh(3, 4), a_cluster(6, 2), a_cluster(3, 8)])
def test_reverse_links(topology: Topology) -> None:
    """Each link has one reverse, which is another link of the same speed."""
    reverse = topology.reverse_link
    np.testing.assert_array_equal(reverse[reverse], np.arange(topology.num_links))
    assert (reverse != np.arange(topology.num_links)).all()
    np.testing.assert_array_equal(topology.bandwidth_Bps[reverse], topology.bandwidth_Bps)
    for link, name in enumerate(topology.link_names):
        back = topology.link_names[reverse[link]]
        if "->" in name:
            assert name.split("->") == back.split("->")[::-1]
        else:
            swapped = name.replace("-out", "-x").replace("-in", "-out").replace("-x", "-in")
            assert back == swapped


@pytest.mark.parametrize(
    "build", [lambda: a_mesh(0, 4), lambda: a_cluster(0, 8), lambda: a_cluster(4, 0)]
)
def test_empty_fabric_is_refused(build: object) -> None:
    """A side, a rank count or a node size of 0 is an input error."""
    with pytest.raises(InputError):
        build()  # type: ignore[operator]


def test_arrays_are_read_only() -> None:
    """A fabric cannot be changed after it was made."""
    with pytest.raises(ValueError, match="read-only"):
        a_mesh(2, 2).bandwidth_Bps[0] = 1.0
