"""Simulated packets: hand-made cases, and agreement with the analytic model."""

from __future__ import annotations

import pytest

from moeplace.errors import InputError
from moeplace.hwmodels import load_system
from moeplace.hwmodels.simulation import MeshCase, Packet, compare_mesh, simulate_mesh

RATE = {"bandwidth_Bps": 1e9, "hop_s": 1e-6}


def test_one_packet_is_stored_and_forwarded() -> None:
    """Two hops cost two sends and two hop latencies."""
    time = simulate_mesh(1, 3, [Packet(0, (2,), 1000)], **RATE)
    assert time == pytest.approx(2 * (1e-6 + 1e-6))


def test_packets_of_one_link_wait() -> None:
    """Three packets over the same link leave one after the other."""
    time = simulate_mesh(1, 2, [Packet(0, (1,), 1000)] * 3, **RATE)
    assert time == pytest.approx(3e-6 + 1e-6)


def test_ways_go_along_the_row_first() -> None:
    """Packets 0 to 3 and 1 to 3 of a 2x2 mesh share the link from 1 to 3, not that from 0 to 2."""
    both = simulate_mesh(2, 2, [Packet(0, (3,), 1000), Packet(1, (3,), 1000)], **RATE)
    assert both == pytest.approx(4e-6)
    busy = simulate_mesh(2, 2, [Packet(0, (3,), 1000)] + [Packet(1, (3,), 1000)] * 5, **RATE)
    assert busy == pytest.approx(7e-6)
    free = simulate_mesh(2, 2, [Packet(0, (3,), 1000)] + [Packet(0, (2,), 1000)] * 2, **RATE)
    assert free == pytest.approx(4e-6)


def test_a_tree_sends_once_where_ways_are_shared() -> None:
    """A multicast along a row takes as long as its farthest copy; unicast queues at the source."""
    tree = simulate_mesh(1, 4, [Packet(0, (1, 2, 3), 1000)], **RATE)
    assert tree == pytest.approx(3 * 2e-6)
    copies = simulate_mesh(1, 4, [Packet(0, (d,), 1000) for d in (1, 2, 3)], **RATE)
    assert copies > tree


def test_at_home_costs_nothing() -> None:
    """A packet to its own die crosses no link."""
    assert simulate_mesh(2, 2, [Packet(1, (1,), 1000)], **RATE) == 0.0


def test_bad_packets() -> None:
    """Dies outside the mesh and a bandwidth of 0 are refused."""
    with pytest.raises(InputError, match="packet 0"):
        simulate_mesh(2, 2, [Packet(0, (4,), 1)], **RATE)
    with pytest.raises(InputError, match="bandwidth"):
        simulate_mesh(2, 2, [], bandwidth_Bps=0, hop_s=0)


@pytest.mark.parametrize("mesh", ["mesh:4x4", "mesh:2x6"])
@pytest.mark.parametrize("dedup", ["none", "rank", "multicast"])
@pytest.mark.parametrize("hot", [0.0, 0.5])
def test_messages_that_fill_the_links(mesh: str, dedup: str, hot: float) -> None:
    """Where sending dominates, analytic and simulated times differ by at most 10 %."""
    system = load_system(mesh).replace(link_latency_us=0.05)
    found = compare_mesh(system, MeshCase(dedup, 192, hot), experts=64, top_k=4)
    assert found.fills_links
    assert abs(found.error) <= 0.10
    assert abs(found.wafer_formula_s / found.simulated_s - 1) <= 0.10


def test_where_they_do_not() -> None:
    """A single token a die is all latency: not counted as filling the links."""
    found = compare_mesh(load_system("mesh:4x4"), MeshCase("rank", 1), experts=64, top_k=4)
    assert not found.fills_links
    with pytest.raises(InputError, match="meshes only"):
        compare_mesh(load_system("full:4"), MeshCase("rank", 1))
