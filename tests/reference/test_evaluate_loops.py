"""The oracle on cases small enough for paper and pencil."""

from __future__ import annotations

import numpy as np
import pytest

from moeplace.placement import Placement, make_problem
from moeplace.traces import TokenSets, Workload
from tests.reference.evaluate_loops import evaluate_loops, landing_rank, messages, serving_slots
from tests.reference.instances import tiny_cluster, tiny_mesh, tiny_model, workload_of_sets


def pair_workload(experts: int, *chosen: tuple[int, int]) -> Workload:
    """Return a workload in which each pair of experts is chosen equally often."""
    return workload_of_sets([TokenSets(np.array(chosen), np.ones(len(chosen)))], experts)


def spread(ranks: int) -> Placement:
    """Return expert e on rank e."""
    return Placement.from_rank_of_expert([list(range(ranks))], num_ranks=ranks)


@pytest.mark.parametrize(
    ("dedup", "expected"),
    [
        ("none", [(0, 1), (0, 1), (0, 3)]),
        ("rank", [(0, 1), (0, 3)]),
        ("node", [(0, 1), (0, 2), (0, 2, 3)]),
    ],
)
def test_messages(dedup, expected):
    """Rank 0 of nodes {0, 1}, {2, 3} sends to 0, 1, 1 and 3; rank 2 takes in what is for 3."""
    assert messages(dedup, 0, [1, 1, 3, 0], [0, 0, 1, 1]) == expected


def test_landing_rank_in_a_partly_filled_node():
    """The third rank of a full node lands on the first of a node of two, the second on itself."""
    nodes = [0, 0, 0, 1, 1]
    assert [landing_rank(source, 1, nodes) for source in (0, 1, 2)] == [3, 4, 3]
    assert [landing_rank(source, 0, nodes) for source in (3, 4)] == [0, 1]


def test_serving_slots():
    """Replicas in slots 0 and 2 and 3, on ranks 0, 1 and 1 of nodes {0, 1} and {2}."""
    ranks, nodes = [0, 0, 1, 1, 2], [0, 0, 1]
    assert serving_slots("even", [0, 2, 3], 2, ranks, nodes) == [0, 2, 3]
    assert serving_slots("nearest", [0, 2, 3], 1, ranks, nodes) == [2, 3]
    assert serving_slots("nearest", [2], 0, ranks, nodes) == [2]
    assert serving_slots("nearest", [2, 4], 0, ranks, nodes) == [2]
    assert serving_slots("nearest", [0, 2], 2, ranks, nodes) == [0, 2]
    assert [serving_slots("rank_modulo", [0, 2], s, ranks, nodes) for s in (0, 1, 2)] == [
        [0],
        [2],
        [0],
    ]


@pytest.mark.parametrize(
    ("dedup", "copies", "hops", "busiest_crossings"),
    [("none", 12 / 6, 17 / 6, 16), ("rank", 8 / 6, 11 / 6, 8), ("multicast", 10 / 6, 10 / 6, 8)],
)
def test_a_line_of_three_dies(dedup, copies, hops, busiest_crossings):
    """Experts 0 and 1 of each token at one end, 2 in the middle or 3 at the other end.

    Two tokens from each die use {0, 1, 2} and two {0, 1, 3}. One copy per rank: 1 + 1 from die 0,
    1 + 2 from die 1, 2 + 1 from die 2, over 1 + 2, 1 + 2 and 3 + 2 links, all four of dies 1 and 2
    on the link 1->0. One per expert adds one wherever experts 0 and 1 are not at home. One per
    link of the tree: 1 + 2, 1 + 2, 2 + 2.
    """
    sets = TokenSets(np.array([[0, 1, 2], [0, 1, 3]]), np.ones(2))
    placement = Placement(
        np.array([[0, 1, 2, -1, 3, -1]]), np.array([0, 0, 1, 1, 2, 2]), num_experts=4, num_ranks=3
    )
    problem = make_problem(
        tiny_model(4, 3), tiny_mesh(1, 3), workload_of_sets([sets], 4), dedup=dedup,
        slots_per_rank=2, tokens_per_rank=4,
    )  # fmt: skip
    cost = evaluate_loops(problem, placement)
    assert cost.copies_per_token == pytest.approx(copies)
    assert cost.hops_per_token == pytest.approx(hops)
    assert cost.layers[0].rank_load == pytest.approx([24, 6, 6])
    assert cost.balancedness == pytest.approx(0.5)
    bytes_of_a_copy = 64 * 2 + 16
    assert cost.max_link_bytes == pytest.approx(busiest_crossings * bytes_of_a_copy)


def test_time_of_two_dies():
    """One token a die, both use both experts: every term by hand."""
    problem = make_problem(
        tiny_model(2, 2), tiny_mesh(1, 2), pair_workload(2, (0, 1)), dedup="rank", tokens_per_rank=1
    )
    cost = evaluate_loops(problem, spread(2))
    crossing = 144 / (2e9 * 0.9), 128 / (2e9 * 0.9)  # one copy each way
    assert cost.dispatch_s == pytest.approx(1.25 * (3e-6 + 0.7e-6 + crossing[0]))
    assert cost.combine_s == pytest.approx(1.25 * (4e-6 + 0.7e-6 + crossing[1]))
    weights = 3 * 64 * 32
    stream, compute = weights * 2 / (20e9 * 0.8), 2 * weights / (0.05e12 * 0.7)
    assert cost.compute_s == pytest.approx(2e-6 + max(stream, compute * 2))
    assert cost.step_time_s == pytest.approx(cost.dispatch_s + cost.compute_s + cost.combine_s)
    assert cost.ranks_per_token == 2


def test_tiles_round_up_and_weights_stream_by_chance():
    """Expert 0 serves 5 of 8 tokens in two tiles of 4; expert 1 is streamed with its chance."""
    sets = TokenSets(np.array([[0], [1]]), np.array([5.0, 3.0]))
    system = tiny_mesh(1, 2, tile_tokens=4, peak_tflops={"bf16": 5.0})
    problem = make_problem(
        tiny_model(2, 1), system, workload_of_sets([sets], 2), dedup="rank", tokens_per_rank=4
    )
    floor, stream, compute = problem.compute_constants
    assert compute * 4 < stream / 2  # so that the weights decide below
    cost = evaluate_loops(problem, spread(2)).layers[0]
    assert cost.rank_compute_s == pytest.approx(
        [floor + stream * (1 - (3 / 8) ** 8), floor + stream * (1 - (5 / 8) ** 8)]
    )
    slow = problem.replace(system=system.replace(peak_tflops={"bf16": 0.005}))
    floor, _, compute = slow.compute_constants
    cost = evaluate_loops(slow, spread(2)).layers[0]
    assert cost.rank_compute_s == pytest.approx([floor + 8 * compute, floor + 4 * compute])


def test_two_stage_latency_adds_up():
    """A copy for rank 3 comes over the NIC to rank 2 first: both tiers' latencies count."""
    problem = make_problem(
        tiny_model(4, 2), tiny_cluster(4, 2), pair_workload(4, (0, 3)), dedup="node",
        tokens_per_rank=1,
    )  # fmt: skip
    cost = evaluate_loops(problem, spread(4)).layers[0]
    busiest = max(cost.link_bytes[0:8]) / 1.8e9, max(cost.link_bytes[8:16]) / 0.32e9
    assert cost.dispatch_s == pytest.approx(1.25 * (3e-6 + 5.7e-6 + max(busiest)))
