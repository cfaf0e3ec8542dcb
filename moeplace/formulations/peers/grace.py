"""Grouping and replication of GRACE-MoE (Han et al., arXiv 2509.25041).

Spectral clusters of the co-activation, of free size over the nodes and of bounded size over the
ranks of a node; then the hottest experts of the heaviest rank get copies on light ranks. Sizes are
bounded by the slots too. Its routing (local replica first) is the problem's dispatch policy.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from moeplace.formulations.heuristics.tables import usable_replicas
from moeplace.formulations.peers.layout import known_token_sets, one_replica, place
from moeplace.formulations.peers.spectral import spectral_clusters
from moeplace.formulations.solver import Solved

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from moeplace.formulations.solver import Run
    from moeplace.placement import Placement, Problem

RATIOS = (0.05, 0.1, 0.15, 0.2, 0.3, 0.5)  # tried; the paper takes the one at the knee (0.15)


def bounded(
    affinity: NDArray[np.float64],
    cluster: NDArray[np.int64],
    least: int,
    most: NDArray[np.int64],
) -> NDArray[np.int64]:
    """Return clusters of `least`..`most` experts, changed where affinity loses least.

    Clusters that are too large give up the experts with the least affinity to the rest; these go
    where they have most among those with room. Clusters that are too small then take the least
    attached experts of clusters that can spare one.
    """
    cluster = cluster.copy()
    everyone = np.arange(cluster.size)
    for group in np.flatnonzero(np.bincount(cluster, minlength=most.size) > most):
        inside = np.flatnonzero(cluster == group)
        attached = affinity[np.ix_(inside, inside)].sum(axis=1)
        cluster[inside[np.argsort(-attached, kind="stable")[most[group] :]]] = -1
    size = np.bincount(cluster[cluster >= 0], minlength=most.size)
    # (experts, groups) affinity of each expert to each group.
    toward = np.stack([affinity[:, cluster == g].sum(axis=1) for g in range(most.size)], axis=1)
    for homeless in map(int, np.flatnonzero(cluster < 0)):
        wanted = np.where(size < most, toward[homeless], -1.0)
        _join(homeless, int(np.lexsort((size, -wanted))[0]), affinity, cluster, size, toward)
    while (size < least).any():
        needy = int(size.argmin())
        spare = (size[cluster] > least) & (cluster != needy)
        expert = int(np.where(spare, toward[everyone, cluster], np.inf).argmin())
        _join(expert, needy, affinity, cluster, size, toward)
    return cluster


def _join(
    expert: int,
    group: int,
    affinity: NDArray[np.float64],
    cluster: NDArray[np.int64],
    size: NDArray[np.int64],
    toward: NDArray[np.float64],
) -> None:
    """Bring an expert from its group, if any, into another one, in place."""
    if (old := int(cluster[expert])) >= 0:
        size[old] -= 1
        toward[:, old] -= affinity[expert]
    cluster[expert] = group
    size[group] += 1
    toward[:, group] += affinity[expert]


def controlled(
    affinity: NDArray[np.float64], num_groups: int, slots_per_rank: int
) -> NDArray[np.int64]:
    """Return spectral groups within n/D · (1 ± r), r at the knee of kept affinity over spread."""
    ideal = affinity.shape[0] // num_groups
    free = spectral_clusters(affinity, num_groups)
    tried: dict[int, NDArray[np.int64]] = {}
    for ratio in RATIOS:
        slack = max(1, round(ideal * ratio))
        most = np.full(num_groups, min(ideal + slack, slots_per_rank))
        if slack not in tried:
            least = min(max(1, ideal - slack), ideal)
            tried[slack] = bounded(affinity, free, least, most)
    kept = [float(affinity[c[:, None] == c[None, :]].sum()) for c in tried.values()]
    spread = [float(np.bincount(c, minlength=num_groups).std()) for c in tried.values()]
    return list(tried.values())[knee(np.array(spread), np.array(kept))]


def knee(cost: NDArray[np.float64], gain: NDArray[np.float64]) -> int:
    """Return the point with the most gain for its cost, both taken between their extremes."""
    if np.ptp(cost) == 0:
        return int(gain.argmax())
    if np.ptp(gain) == 0:
        return int(cost.argmin())
    return int(((gain - gain.min()) / np.ptp(gain) - (cost - cost.min()) / np.ptp(cost)).argmax())


def copy_hottest(
    holds: NDArray[np.bool_], load: NDArray[np.float64], spare: int, slots_per_rank: int
) -> None:
    """Copy the hottest experts of the heaviest rank to the n lightest, in place.

    n = min(max(1, ⌊W_max/W̄⌋), R − 1); hot are the first experts whose loads reach
    W_max · n/(n + 1). Copies stop at `spare`, and where a rank has no slot left.
    """
    ranks, rank_load = holds.shape[0], holds @ load
    heaviest, mean = int(rank_load.argmax()), float(rank_load.mean())
    if ranks == 1 or mean <= 0:
        return
    copies = min(max(1, int(rank_load[heaviest] / mean)), ranks - 1)
    inside = np.flatnonzero(holds[heaviest])
    hottest = inside[np.argsort(-load[inside], kind="stable")]
    reached = np.cumsum(load[hottest]) >= rank_load[heaviest] * copies / (copies + 1)
    for expert in hottest[: int(reached.argmax()) + 1]:
        open_ = ~holds[:, expert] & (holds.sum(axis=1) < slots_per_rank)
        lightest = np.argsort(np.where(open_, rank_load, np.inf), kind="stable")
        for rank in lightest[: min(copies, int(open_.sum()), spare)]:
            holds[rank, expert] = True
            spare -= 1


def grace(problem: Problem, run: Run, initial: Placement | None) -> Solved:
    """Group by co-activation over nodes, then ranks, and copy the hottest experts.

    Raises
    ------
    InputError
        If the workload is known by its loads alone.
    """
    node_of_rank = problem.system.topology.node_of_rank
    slots = problem.slots_per_rank
    ranks = np.empty((problem.num_layers, problem.num_experts), np.int64)
    for layer, sets in enumerate(known_token_sets(problem, "grace")):
        affinity = sets.coactivation(problem.num_experts)
        room = np.bincount(node_of_rank) * slots
        node = bounded(affinity, spectral_clusters(affinity, room.size), 0, room)
        for number in range(room.size):
            inside, of_node = np.flatnonzero(node == number), np.flatnonzero(node_of_rank == number)
            if inside.size:
                within = controlled(affinity[np.ix_(inside, inside)], of_node.size, slots)
                ranks[layer, inside] = of_node[within]
    holds = one_replica(ranks, problem.num_ranks)
    spare = usable_replicas(problem) - problem.num_experts
    for layer, load in enumerate(problem.load_share):
        copy_hottest(holds[layer], load, spare, slots)
    return Solved(place(problem, holds))
