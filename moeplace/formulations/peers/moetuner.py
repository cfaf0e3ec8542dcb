"""MoETuner (Go and Mahajan, arXiv 2502.06643): clusters of equal load, mapped along the layers.

Stage 1: the paper's first integer program splits the experts of a layer into non-empty clusters of
any size such that the loads deviate least from their mean, in sum. Here: longest processing time,
then moves and swaps that lower the sum.

Stage 2: its second program maps clusters to devices so that, in the sum over pairs of consecutive
layers, the slowest transfer between two devices is short; the text takes the largest transfer of a
pair of layers, its formula a sum inside the maximum, and here it is the largest. The paper allows
2.5 % from the optimum. Here it is exact on one node (equal bandwidths, one assignment a pair of
layers) and up to six ranks (Viterbi over permutations), elsewhere alternating search
(:mod:`moeplace.formulations.chain`). The rule that every device holds equally many experts over all
layers (Eq. 13) is left out: slots are reserved in every layer. It is vacuous for equal clusters.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from moeplace.formulations.chain import solve_chain
from moeplace.formulations.peers.layout import one_replica, place
from moeplace.formulations.solver import Solved

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from moeplace.formulations.solver import Run
    from moeplace.placement import Placement, Problem

GAIN = 1e-9  # of the mean load of a cluster; less is rounding error


def moetuner(problem: Problem, run: Run, initial: Placement | None) -> Solved:
    """Split every layer into clusters of equal load, and map them by transitions; no replicas.

    Raises
    ------
    InputError
        If the workload does not know which expert follows which.
    """
    follow = problem.workload.transition()
    cluster = clusters(problem)
    labels = solve_chain(
        cluster_flow(follow, cluster, problem.num_ranks),
        seconds_per_byte(problem),
        combine="max",
        seed=run.seed,
    ).labels
    ranks = np.take_along_axis(labels, cluster, axis=1)
    return Solved(place(problem, one_replica(ranks, problem.num_ranks)))


def moetuner_load(problem: Problem, run: Run, initial: Placement | None) -> Solved:
    """Stage 1 alone: cluster c on rank c; no replicas."""
    return Solved(place(problem, one_replica(clusters(problem), problem.num_ranks)))


def clusters(problem: Problem) -> NDArray[np.int64]:
    """Return (layers, experts) the cluster of each expert after stage 1."""
    found = np.empty((problem.num_layers, problem.num_experts), np.int64)
    for layer, load in enumerate(problem.load_share):
        found[layer] = longest_first(load, problem.num_ranks, problem.slots_per_rank)
        improve(load, found[layer], problem.num_ranks, problem.slots_per_rank)
    return found


def cluster_flow(
    follow: NDArray[np.float64], cluster: NDArray[np.int64], num_clusters: int
) -> NDArray[np.float64]:
    """Return (layers − 1, clusters, clusters) tokens that go from a cluster to one of the next.

    Parameters
    ----------
    follow
        (layers − 1, experts, experts) transitions.
    cluster
        (layers, experts).
    num_clusters
        Clusters of a layer.
    """
    member = (cluster[:, :, None] == np.arange(num_clusters)).astype(np.float64)
    flow: NDArray[np.float64] = member[:-1].transpose(0, 2, 1) @ follow @ member[1:]
    return flow


def seconds_per_byte(problem: Problem) -> NDArray[np.float64]:
    """Return (ranks, ranks) relative time of a byte on the slowest link of a route; 0 at home."""
    topology = problem.system.topology
    price = np.zeros((problem.num_ranks, problem.num_ranks))
    for a in range(problem.num_ranks):
        for b in range(problem.num_ranks):
            if a != b:
                price[a, b] = 1.0 / float(topology.bandwidth_Bps[topology.route(a, b)].min())
    top = price.max(initial=0.0)
    return price / top if top > 0 else price


def longest_first(load: NDArray[np.float64], num_ranks: int, most: int) -> NDArray[np.int64]:
    """Return (experts,) clusters by longest processing time, at most `most` experts in each.

    Ties go to the smallest cluster, so that none stays empty if there are enough experts.
    """
    cluster = np.empty(load.size, np.int64)
    total, size = np.zeros(num_ranks), np.zeros(num_ranks, np.int64)
    for expert in np.argsort(-load, kind="stable"):
        lightest = total == total[size < most].min()
        chosen = int(np.where(lightest & (size < most), size, load.size).argmin())
        cluster[expert] = chosen
        total[chosen] += load[expert]
        size[chosen] += 1
    return cluster


def improve(
    load: NDArray[np.float64], cluster: NDArray[np.int64], num_ranks: int, most: int
) -> None:
    """Lower Σ |cluster load − mean| by moves and swaps, in place, until none helps.

    Each step takes the best one that involves the most deviating cluster for which there is one.
    """
    mean = float(load.sum()) / num_ranks
    for _ in range(4 * load.size):
        excess = np.bincount(cluster, weights=load, minlength=num_ranks).astype(np.float64) - mean
        for chosen in np.argsort(-np.abs(excess), kind="stable"):
            if abs(excess[chosen]) <= GAIN * mean:
                return
            if _step(load, cluster, excess, int(chosen), most, GAIN * mean):
                break
        else:
            return


def _step(
    load: NDArray[np.float64],
    cluster: NDArray[np.int64],
    excess: NDArray[np.float64],
    chosen: int,
    most: int,
    least_gain: float,
) -> bool:
    """Make the best move or swap with cluster `chosen`; return whether there was one."""
    size = np.bincount(cluster, minlength=excess.size)
    mine, others = np.flatnonzero(cluster == chosen), np.flatnonzero(cluster != chosen)
    other = cluster[others]
    # Rows: an expert given away, last row none. Columns: one received, then one a cluster for none.
    given = np.append(load[mine], 0.0)[:, None]
    to = np.append(other, np.arange(excess.size))[None, :]
    received = np.append(load[others], np.zeros(excess.size))[None, :]
    shift = given - received
    gain = (
        np.abs(excess[chosen])
        + np.abs(excess[to])
        - np.abs(excess[chosen] - shift)
        - np.abs(excess[to] + shift)
    )
    swaps = others.size
    gain[-1, :swaps][(size[other] == 1) | (size[chosen] >= most)] = -np.inf
    gain[:-1, swaps:][:, (size >= most) | (size[chosen] == 1)] = -np.inf
    gain[:, swaps + chosen] = gain[-1, swaps:] = -np.inf
    row, column = np.unravel_index(int(gain.argmax()), gain.shape)
    if not gain[row, column] > least_gain:
        return False
    if row < mine.size:
        cluster[mine[row]] = to[0, column]
    if column < swaps:
        cluster[others[column]] = chosen
    return True
