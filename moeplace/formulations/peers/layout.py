"""What the peers share: who holds what, loads in pairs, one bandwidth, co-activation."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from moeplace.errors import InputError
from moeplace.formulations.heuristics.tables import to_placement

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from moeplace.placement import Placement, Problem
    from moeplace.traces import TokenSets


def equal_sizes(num_experts: int, num_ranks: int) -> NDArray[np.int64]:
    """Return (ranks,) experts per rank, as equal as can be, the larger ones first."""
    ranks = np.arange(num_ranks)
    sizes: NDArray[np.int64] = num_experts // num_ranks + (ranks < num_experts % num_ranks)
    return sizes


def contiguous_holds(problem: Problem) -> NDArray[np.bool_]:
    """Return (layers, ranks, experts): experts in order, one replica each, equal counts."""
    sizes = equal_sizes(problem.num_experts, problem.num_ranks)
    rank = np.repeat(np.arange(problem.num_ranks), sizes)
    return one_replica(np.tile(rank, (problem.num_layers, 1)), problem.num_ranks)


def one_replica(rank_of_expert: NDArray[np.int64], num_ranks: int) -> NDArray[np.bool_]:
    """Return (layers, ranks, experts) true where the rank holds the expert.

    Parameters
    ----------
    rank_of_expert
        (layers, experts) the one rank of each expert.
    num_ranks
        R.
    """
    holds: NDArray[np.bool_] = rank_of_expert[:, None, :] == np.arange(num_ranks)[None, :, None]
    return holds


def holds_of(placement: Placement) -> NDArray[np.bool_]:
    """Return (layers, ranks, experts) true where a rank of the placement holds the expert."""
    holds: NDArray[np.bool_] = placement.replicas_on_rank.transpose(0, 2, 1) > 0
    return holds


def place(problem: Problem, holds: NDArray[np.bool_]) -> Placement:
    """Return the placement in which each rank holds these experts, in order, empty slots last.

    Parameters
    ----------
    problem
        Gives slots and layers.
    holds
        (layers, ranks, experts), at most `slots_per_rank` experts on a rank.
    """
    layers, ranks, _ = holds.shape
    layer, rank, expert = np.nonzero(holds)
    within = np.cumsum(holds, axis=2)[layer, rank, expert] - 1
    table = np.full((layers, ranks, problem.slots_per_rank), -1, np.int32)
    table[layer, rank, within] = expert
    return to_placement(problem, table.reshape(layers, -1))


def pairs_of_step(problem: Problem) -> NDArray[np.float64]:
    """Return (layers, experts) (token, expert) pairs of a step."""
    return problem.load_share * float(problem.tokens * problem.top_k)


def roofline_s(problem: Problem, pairs: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return seconds of an expert that serves `pairs` tokens: weight reads or arithmetic.

    An expert without tokens is not read and costs nothing.
    """
    _, read_s, token_s = problem.compute_constants
    seconds: NDArray[np.float64] = np.where(pairs > 0, np.maximum(read_s, token_s * pairs), 0.0)
    return seconds


def pair_exchange_s(problem: Problem) -> float:
    """Return seconds to send one token to a rank and its result back, at one bandwidth.

    The bandwidth is that of a device's slowest tier, as in models without topology.
    """
    return sum(problem.system.copy_bytes(problem.model.payload_size)) / port_Bps(problem)


def port_Bps(problem: Problem) -> float:
    """Return the usable bandwidth of a device's slowest tier: NIC if there are several nodes."""
    system = problem.system
    if system.num_nodes > 1:
        return system.nic_GBps * system.nic_efficiency * 1e9
    return system.link_GBps * system.link_efficiency * 1e9


def known_token_sets(problem: Problem, solver: str) -> tuple[TokenSets, ...]:
    """Return the token sets of every layer.

    Raises
    ------
    InputError
        If the workload is known by its loads alone.
    """
    sets = problem.workload.token_sets
    if sets is None:
        raise InputError(
            f"solver {solver!r} needs to know which experts go together; workload "
            f"{problem.workload.name!r} has loads alone: give a token-level trace, or a dedup mode "
            "other than none, for which token sets are generated"
        )
    return sets
