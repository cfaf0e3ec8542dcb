from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moeplace.errors import InputError
from moeplace.hwmodels import DEDUP_MODES, CommPlan, Topology, cluster, mesh, plan_communication

if TYPE_CHECKING:
    from numpy.typing import NDArray

FABRICS = {
    "mesh 3x4": mesh(3, 4, bandwidth_Bps=1.0, latency_s=2e-7),
    "mesh 1x5": mesh(1, 5, bandwidth_Bps=1.0, latency_s=2e-7),
    "3 nodes of 4": cluster(
        12, 4, intra_Bps=9.0, inter_Bps=1.0, intra_latency_s=1e-6, inter_latency_s=4e-6
    ),
    "nodes of 4, 4 and 2": cluster(
        10, 4, intra_Bps=9.0, inter_Bps=1.0, intra_latency_s=1e-6, inter_latency_s=4e-6
    ),
    "one node": cluster(
        5, 8, intra_Bps=9.0, inter_Bps=1.0, intra_latency_s=1e-6, inter_latency_s=4e-6
    ),
}


def walk(fabric: Topology, start: int, end: int) -> list[str]:
    """Walk from rank to rank by name, without looking at the stored routes."""
    if start == end:
        return []
    if fabric.shape is None:
        tier = "fast" if fabric.node_of_rank[start] == fabric.node_of_rank[end] else "nic"
        return [f"{tier}-out {start}", f"{tier}-in {end}"]
    columns, names, here = fabric.shape[1], [], start
    while here != end:
        if here % columns != end % columns:
            after = here + (1 if end % columns > here % columns else -1)
        else:
            after = here + (columns if end > here else -columns)
        names.append(f"{here}->{after}")
        here = after
    return names


def opposite(name: str) -> str:
    if "->" in name:
        return "->".join(name.split("->")[::-1])
    return name.replace("-out", "-x").replace("-in", "-out").replace("-x", "-in")


def loop_reference(
    fabric: Topology, dedup: str, source: int, ranks: list[int]
) -> tuple[Counter[str], Counter[str]]:
    """Send one token by walking: `ranks` holds the rank of each of its experts."""
    out: Counter[str] = Counter()
    back: Counter[str] = Counter()

    def send(start: int, end: int) -> None:
        out.update(walk(fabric, start, end))
        back.update(walk(fabric, end, start))

    if dedup == "none":
        for rank in ranks:
            send(source, rank)
    elif dedup == "rank":
        for rank in set(ranks):
            send(source, rank)
    elif dedup == "node":
        home = fabric.node_of_rank[source]
        local = source - int(np.flatnonzero(fabric.node_of_rank == home)[0])
        for node in {int(fabric.node_of_rank[rank]) for rank in ranks}:
            inside = [r for r in range(fabric.num_ranks) if fabric.node_of_rank[r] == node]
            landing = source if node == home else inside[local % len(inside)]
            send(source, landing)
            for rank in set(ranks) & set(inside):
                send(landing, rank)
    else:
        tree = {name for rank in ranks for name in walk(fabric, source, rank)}
        out.update(tree)
        back.update(opposite(name) for name in tree)
    return out, back


def plan_crossings(
    plan: CommPlan, source: int, ranks: list[int]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Count link crossings of one token from the plan."""
    on_rank = np.bincount(ranks, minlength=plan.topology.num_ranks)
    touches = plan.members @ on_rank if plan.dedup == "none" else plan.members @ on_rank > 0
    copies = touches[plan.set_index] * (plan.source == source)
    links = plan.topology.num_links
    return (
        np.bincount(plan.dispatch_link, weights=copies[plan.message], minlength=links),
        np.bincount(plan.combine_link, weights=copies[plan.combine_message], minlength=links),
    )


def as_vector(fabric: Topology, count: Counter[str]) -> list[int]:
    return [count[name] for name in fabric.link_names]


@pytest.mark.parametrize("dedup", DEDUP_MODES)
@pytest.mark.parametrize("name", FABRICS)
@settings(max_examples=25)
@given(data=st.data())
def test_plan_equals_a_walk(name: str, dedup: str, data: st.DataObject) -> None:
    """A token crosses the links that a hand-written walk of its copies crosses, both ways."""
    fabric = FABRICS[name]
    rank = st.integers(0, fabric.num_ranks - 1)
    source = data.draw(rank)
    ranks = data.draw(st.lists(rank, min_size=1, max_size=6))
    out, back = plan_crossings(plan_communication(fabric, dedup), source, ranks)
    expected_out, expected_back = loop_reference(fabric, dedup, source, ranks)
    np.testing.assert_array_equal(out, as_vector(fabric, expected_out))
    np.testing.assert_array_equal(back, as_vector(fabric, expected_back))


@pytest.mark.parametrize("dedup", DEDUP_MODES)
@pytest.mark.parametrize("name", FABRICS)
def test_uniform_use_is_the_mean_over_sources(name: str, dedup: str) -> None:
    """With uniform sources the use of links is the mean of the walks from every rank."""
    fabric = FABRICS[name]
    plan = plan_communication(fabric, dedup)
    ranks = [0, fabric.num_ranks - 1, fabric.num_ranks // 2, 0]
    on_rank = np.bincount(ranks, minlength=fabric.num_ranks)
    touches = plan.members @ on_rank if dedup == "none" else plan.members @ on_rank > 0
    walks = [loop_reference(fabric, dedup, source, ranks) for source in range(fabric.num_ranks)]
    for way, use in enumerate(plan.uniform_use):
        mean = np.mean([as_vector(fabric, walked[way]) for walked in walks], axis=0)
        np.testing.assert_allclose(use @ touches, mean, atol=1e-12)


@pytest.mark.parametrize("dedup", ["none", "rank"])
@pytest.mark.parametrize("name", FABRICS)
def test_traffic_is_conserved(name: str, dedup: str) -> None:
    """All crossings together are copies times hops, and copies never go home."""
    fabric = FABRICS[name]
    plan = plan_communication(fabric, dedup)
    out, back = plan.uniform_use
    hops = fabric.hops().mean(axis=0)
    np.testing.assert_allclose(out.sum(axis=0), hops)
    np.testing.assert_allclose(back.sum(axis=0), hops)
    np.testing.assert_allclose(plan.uniform_messages, 1 - 1 / fabric.num_ranks)


@pytest.mark.parametrize("name", ["3 nodes of 4", "nodes of 4, 4 and 2"])
def test_node_kernel_uses_the_nic_once_per_node(name: str) -> None:
    """A token for all ranks of all nodes leaves by the NIC once per other node."""
    fabric = FABRICS[name]
    everywhere = list(range(fabric.num_ranks))
    out, back = plan_crossings(plan_communication(fabric, "node"), 1, everywhere)
    nic = np.array([link.startswith("nic-out") for link in fabric.link_names])
    assert out[nic].sum() == back[nic].sum() == fabric.num_nodes - 1
    assert out[fabric.link_names.index("nic-out 1")] == fabric.num_nodes - 1


def test_node_kernel_counts_copies() -> None:
    """Of 12 sources 3 land on a given rank without a second copy, 4 are in a given node."""
    copies = plan_communication(FABRICS["3 nodes of 4"], "node").uniform_messages
    np.testing.assert_allclose(copies[:12], 9 / 12)
    np.testing.assert_allclose(copies[12:], 8 / 12)


@given(seed=st.integers(0, 1000))
@settings(max_examples=20)
def test_more_dedup_never_sends_more(seed: int) -> None:
    """On a mesh, crossings fall from none to rank to multicast."""
    rng = np.random.default_rng(seed)
    fabric = FABRICS["mesh 3x4"]
    source, ranks = int(rng.integers(12)), list(rng.integers(12, size=6))
    total = [
        plan_crossings(plan_communication(fabric, dedup), source, ranks)[0].sum()
        for dedup in ("none", "rank", "multicast")
    ]
    assert total == sorted(total, reverse=True)


@pytest.mark.parametrize("dedup", DEDUP_MODES)
def test_latency_of_a_mesh_route(dedup: str) -> None:
    """The longest route to any set of a 3x4 mesh has 5 hops of 200 ns."""
    plan = plan_communication(FABRICS["mesh 3x4"], dedup)
    assert plan.uniform_latency_s.max() == pytest.approx(5 * 2e-7)


def test_latency_of_a_forwarded_copy() -> None:
    """A copy that is forwarded inside the node has the latency of both tiers."""
    plan = plan_communication(FABRICS["3 nodes of 4"], "node")
    assert plan.uniform_latency_s.max() == pytest.approx(5e-6)
    direct = plan_communication(FABRICS["3 nodes of 4"], "rank")
    assert direct.uniform_latency_s.max() == pytest.approx(4e-6)


def test_unknown_dedup() -> None:
    """A mode that does not exist is an input error that lists the modes."""
    with pytest.raises(InputError, match="none, rank, node, multicast"):
        plan_communication(FABRICS["one node"], "expert")


@pytest.mark.parametrize(
    ("rows", "columns", "crossings"),
    [
        (4, 4, (20.0, 16.3, 9.6)),
        (5, 5, (25.6, 22.5, 13.0)),
        (3, 8, (28.1, 24.6, 12.0)),
        (4, 6, (25.5, 22.4, 12.2)),
        (6, 6, (31.1, 28.6, 16.5)),
        (8, 8, (42.0, 40.3, 23.4)),
    ],
)
def test_crossings_of_uniform_routing(
    rows: int, columns: int, crossings: tuple[float, float, float]
) -> None:
    """Top-8 of 256 at random crosses as many links as an independent simulation found."""
    rng = np.random.default_rng(7)
    fabric = mesh(rows, columns, bandwidth_Bps=1.0, latency_s=0.0)
    rank_of_expert = np.arange(256) * fabric.num_ranks // 256
    experts = np.argpartition(rng.random((4000, 256)), 8, axis=1)[:, :8]
    on_rank = np.zeros((4000, fabric.num_ranks))
    np.add.at(on_rank, (np.arange(4000)[:, None], rank_of_expert[experts]), 1)
    for dedup, expected in zip(("none", "rank", "multicast"), crossings, strict=True):
        plan = plan_communication(fabric, dedup)
        touches = on_rank @ plan.members.T
        if dedup != "none":
            touches = touches > 0
        found = (plan.uniform_use[0] @ touches.mean(axis=0)).sum()
        assert found == pytest.approx(expected, rel=0.02)
