"""Expert groups that stay together: all replicas of a group's experts on one node."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from moeplace.errors import InfeasibleError, InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from moeplace.placement.placement import Placement
    from moeplace.placement.problem import Problem


def group_of_expert(problem: Problem) -> NDArray[np.int64]:
    """Return (experts,) the router's group of each expert: `n_group` blocks of equal size."""
    groups: NDArray[np.int64] = (
        np.arange(problem.num_experts) * problem.model.n_group // problem.num_experts
    )
    return groups


def check_groups(problem: Problem) -> None:
    """Raise where groups cannot be kept on nodes.

    Raises
    ------
    InputError
        If the model's router has no groups.
    InfeasibleError
        If a group has more experts than the largest node has slots.
    """
    if not problem.groups_on_nodes:
        return
    if problem.model.n_group < 2:
        raise InputError(f"{problem.model.name} has no expert groups to keep on a node")
    size = int(np.bincount(group_of_expert(problem)).max())
    room = problem.slots_per_rank * int(np.bincount(problem.system.topology.node_of_rank).max())
    if size > room:
        raise InfeasibleError(
            f"a group has {size} experts, the largest node {room} slots; use larger nodes, more "
            "slots or no groups_on_nodes"
        )


def split_groups(problem: Problem, placement: Placement) -> list[str]:
    """Return one line for every layer and group whose replicas lie on several nodes."""
    if not problem.groups_on_nodes:
        return []
    group, node = group_of_expert(problem), problem.system.topology.node_of_rank
    layers = problem.workload.layer_ids or tuple(range(problem.num_layers))
    broken = []
    for layer, name in enumerate(layers):
        expert, rank = np.nonzero(placement.replicas_on_rank[layer])
        pairs = np.unique(np.stack([group[expert], node[rank]]), axis=1)
        for split in np.flatnonzero(np.bincount(pairs[0]) > 1):
            nodes = ", ".join(map(str, pairs[1][pairs[0] == split]))
            broken.append(f"layer {name}: expert group {split} lies on nodes {nodes}, not on one")
    return broken
