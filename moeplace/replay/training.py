"""What replicas cost in training: gradients that all holders of an expert must add up."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from moeplace.hwmodels import Topology
    from moeplace.placement import Problem

# Weights in 16 bits beside a master copy and two Adam moments in 32 bits: 2 + 12 bytes of 2.
MODEL_STATES = 7.0


@lru_cache(maxsize=8)
def route_costs(topology: Topology) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return (ranks, ranks) seconds per byte of the slowest link of a route, and its latency."""
    ranks = topology.num_ranks
    slowest, latency = np.zeros((ranks, ranks)), np.zeros((ranks, ranks))
    for source in range(ranks):
        for target in range(ranks):
            route = topology.route(source, target)
            if route.size:
                slowest[source, target] = 1 / topology.bandwidth_Bps[route].min()
                latency[source, target] = topology.latency_s[route].sum()
    return slowest, latency


def sync_seconds(
    problem: Problem, table: NDArray[np.int32], expert_bytes: float
) -> NDArray[np.float64]:
    """Return (layers,) seconds to add up the gradients of replicated experts.

    A ring all-reduce over the n ranks that hold an expert moves 2 (n − 1) / n of its bytes through
    each of them, at the slowest route between neighbors in rank order; a rank does its experts one
    after the other, and the layer waits for the busiest rank. FlexMoE's equation 9 has expert
    bytes over BPS(G′), a profiled rate of the group, in place of the ring; its original could not
    be read.

    Parameters
    ----------
    problem
        Gives the fabric.
    table
        (layers, ranks, slots) experts, −1 empty.
    expert_bytes
        Bytes of one expert's gradients.
    """
    from moeplace.replay.training_kernels import sync_layers

    slowest, _ = route_costs(problem.plan.topology)
    out = np.zeros(table.shape[0])
    sync_layers(np.ascontiguousarray(table), problem.num_experts, slowest, expert_bytes, out)
    return out
