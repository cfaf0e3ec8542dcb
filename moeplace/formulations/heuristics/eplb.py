"""DeepSeek's EPLB, the balancer that engines ship: hierarchical and global policy.

Written from its published description (deepseek-ai/EPLB README and vLLM's documentation): expert
groups are packed onto nodes, experts replicated inside each node, replicas packed onto devices; the
global policy is the same with one group and one node. Weights are float32 as in the original.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from moeplace.errors import InputError
from moeplace.formulations.heuristics.tables import to_placement, usable_replicas
from moeplace.formulations.solver import Solved

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from moeplace.formulations.solver import Run
    from moeplace.placement import Placement, Problem

Maps = tuple["NDArray[np.int64]", "NDArray[np.int64]", "NDArray[np.int64]"]
POLICIES = ("auto", "global", "hierarchical")


def eplb_maps(
    weight: ArrayLike,
    num_replicas: int,
    num_groups: int,
    num_nodes: int,
    num_gpus: int,
    policy: str = "auto",
) -> Maps:
    """Return EPLB's maps (physical to logical, logical to physical, replica counts).

    An expert may lie twice on a device, as in the original. Complexity: O(layers · (redundant ·
    experts + replicas · devices)), vectorized over layers.

    Parameters
    ----------
    weight
        (layers, experts) loads, finite and ≥ 0.
    num_replicas
        Slots of a layer, a multiple of `num_gpus` and ≥ experts; all are filled.
    num_groups, num_nodes
        Expert groups of the router and nodes, used by the hierarchical policy.
    num_gpus
        Devices.
    policy
        ``auto``: hierarchical if the groups divide over the nodes, else global (EPLB's own
        rule). ``global`` or ``hierarchical`` to force one.

    Returns
    -------
    ``phy2log`` (layers, num_replicas); ``log2phy`` (layers, experts, most replicas of any expert)
    in the order the replicas were made, −1 pads; ``logcnt`` (layers, experts). All int64.

    Raises
    ------
    InputError
        If the numbers do not divide as the policy needs, or a weight is not finite and ≥ 0.
    """
    load = checked_weight(weight)
    rule = checked_policy(load.shape[1], num_replicas, num_groups, num_nodes, num_gpus, policy)
    if rule == "global":
        num_groups = num_nodes = 1
    with np.errstate(over="ignore"):
        w = load.astype(np.float32)
    if not np.isfinite(w).all():
        raise InputError("weight: a value does not fit into float32, which EPLB computes in")
    layers, experts = w.shape
    per_group, groups_per_node = experts // num_groups, num_groups // num_nodes
    per_node, gpus_per_node = experts // num_nodes, num_gpus // num_nodes
    slots_per_node, slots_per_gpu = num_replicas // num_nodes, num_replicas // num_gpus

    node, place = _pack(
        w.reshape(layers, num_groups, per_group).sum(axis=2), num_nodes, groups_per_node
    )
    group_at = np.empty((layers, num_groups), np.int64)  # groups, node by node
    np.put_along_axis(
        group_at, node * groups_per_node + place, np.arange(num_groups)[None, :], axis=1
    )
    expert_at = (group_at[:, :, None] * per_group + np.arange(per_group)).reshape(layers, experts)
    w_node = np.take_along_axis(w, expert_at, axis=1).reshape(layers * num_nodes, per_node)

    local, copy, count = _replicate(w_node, slots_per_node)
    share = np.divide(w_node, count, dtype=np.float32)
    gpu, within = _pack(np.take_along_axis(share, local, axis=1), gpus_per_node, slots_per_gpu)

    first_slot = np.arange(num_nodes)[:, None] * slots_per_node
    slot = (gpu * slots_per_gpu + within).reshape(layers, num_nodes, slots_per_node) + first_slot
    first_expert = np.arange(num_nodes)[:, None] * per_node
    position = local.reshape(layers, num_nodes, slots_per_node) + first_expert
    shape = (layers, num_replicas)
    logical = np.take_along_axis(expert_at, position.reshape(shape), axis=1)
    return _maps(logical, copy.reshape(shape), slot.reshape(shape), experts)


def checked_weight(weight: ArrayLike) -> NDArray[np.float64]:
    """Return weights as (layers, experts) float64.

    Raises
    ------
    InputError
        If they are not a table of finite numbers ≥ 0.
    """
    problem = "weight is not a (layers, experts) table of real numbers"
    try:
        given = np.asarray(weight)
        if given.dtype.kind not in "biufO":
            raise InputError(problem)
        load = given.astype(np.float64)
    except (TypeError, ValueError, OverflowError, RuntimeError) as error:
        raise InputError(problem) from error
    if load.ndim != 2 or not load.size:
        raise InputError(f"weight has shape {load.shape}; (layers, experts) expected")
    bad = ~(np.isfinite(load) & (load >= 0))
    if bad.any():
        layer, expert = (int(i) for i in np.argwhere(bad)[0])
        raise InputError(
            f"weight {load[layer, expert]} of expert {expert} in row {layer}; weights must be "
            "finite and ≥ 0"
        )
    return load


def checked_policy(
    num_experts: int,
    num_replicas: int,
    num_groups: int,
    num_nodes: int,
    num_gpus: int,
    policy: str = "auto",
) -> str:
    """Return ``global`` or ``hierarchical``, or raise an InputError that names the broken rule."""
    given = {
        "num_replicas": num_replicas,
        "num_groups": num_groups,
        "num_nodes": num_nodes,
        "num_gpus": num_gpus,
    }
    for name, value in given.items():
        if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 1:
            raise InputError(f"{name} is {value!r}; it must be a whole number from 1")
    if policy not in POLICIES:
        raise InputError(f"unknown policy {policy!r}: use one of {', '.join(POLICIES)}")
    rules = [
        (num_replicas >= num_experts, f"num_replicas {num_replicas} < {num_experts} experts"),
        (
            num_replicas % num_gpus == 0,
            f"num_replicas {num_replicas} is not divisible by num_gpus {num_gpus}",
        ),
    ]
    if policy == "auto":
        policy = "hierarchical" if num_groups % num_nodes == 0 else "global"
    if policy == "hierarchical":
        rules += [
            (
                num_groups % num_nodes == 0,
                f"num_groups {num_groups} is not divisible by num_nodes {num_nodes}",
            ),
            (
                num_experts % num_groups == 0,
                f"{num_experts} experts are not divisible by num_groups {num_groups}",
            ),
            (
                num_gpus % num_nodes == 0,
                f"num_gpus {num_gpus} is not divisible by num_nodes {num_nodes}",
            ),
        ]
    for holds, broken in rules:
        if not holds:
            raise InputError(f"EPLB ({policy} policy): {broken}")
    return policy


def eplb(problem: Problem, run: Run, initial: Placement | None) -> Solved:
    """Run EPLB with its own rule; nodes of unequal size leave the global policy."""
    fits = problem.model.n_group % problem.system.num_nodes == 0 and _nodes_are_equal(problem)
    return _solve(problem, "hierarchical" if fits else "global")


def eplb_global(problem: Problem, run: Run, initial: Placement | None) -> Solved:
    """Run EPLB's global policy."""
    return _solve(problem, "global")


def eplb_hierarchical(problem: Problem, run: Run, initial: Placement | None) -> Solved:
    """Run EPLB's hierarchical policy.

    Raises
    ------
    InputError
        If replicas, groups, nodes and ranks do not divide as it needs.
    """
    if eplb_is_uneven(problem):
        raise InputError(
            f"EPLB (hierarchical policy): {usable_replicas(problem)} replicas are not divisible "
            f"by {problem.num_ranks} ranks; choose another redundant="
        )
    if not _nodes_are_equal(problem):
        raise InputError(
            f"EPLB (hierarchical policy): {problem.num_ranks} ranks do not fill nodes of "
            f"{problem.system.node_size}; choose a multiple"
        )
    return _solve(problem, "hierarchical")


def eplb_is_uneven(problem: Problem) -> bool:
    """Return whether the replicas do not divide over the ranks, which EPLB itself refuses."""
    return usable_replicas(problem) % problem.num_ranks != 0


def eplb_label(problem: Problem) -> str:
    """Return what to call the row of solver ``eplb``: ``eplb`` or ``eplb (uneven)``."""
    return "eplb (uneven)" if eplb_is_uneven(problem) else "eplb"


def _nodes_are_equal(problem: Problem) -> bool:
    nodes = problem.system.num_nodes
    return nodes == 1 or problem.num_ranks == nodes * problem.system.node_size


def _solve(problem: Problem, policy: str) -> Solved:
    total, ranks, slots = usable_replicas(problem), problem.num_ranks, problem.slots_per_rank
    load = problem.workload.load
    table = np.full((problem.num_layers, ranks, slots), -1, np.int32)
    if eplb_is_uneven(problem):
        w = load.astype(np.float32)
        expert, _, count = _replicate(w, total)
        share = np.divide(w, count, dtype=np.float32)
        rank, within = _pack(np.take_along_axis(share, expert, axis=1), ranks, slots)
        table[np.arange(problem.num_layers)[:, None], rank, within] = expert
    else:
        phy2log, _, _ = eplb_maps(
            load, total, problem.model.n_group, problem.system.num_nodes, ranks, policy
        )
        table[:, :, : total // ranks] = phy2log.reshape(problem.num_layers, ranks, -1)
    return Solved(to_placement(problem, table.reshape(problem.num_layers, -1)))


def _pack(
    weight: NDArray[np.float32], num_packs: int, room: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Put items, heaviest first, into the lightest pack with room; return pack and place in it.

    Parameters
    ----------
    weight
        (rows, items); rows are independent.
    num_packs, room
        Packs, and the items each can hold.
    """
    rows, items = weight.shape
    pack = np.zeros((rows, items), np.int64)
    place = np.zeros((rows, items), np.int64)
    if room == 1 and items == num_packs:
        pack[:] = np.arange(items)
        return pack, place
    row = np.arange(rows)
    load = np.zeros((rows, num_packs), np.float32)
    used = np.zeros((rows, num_packs), np.int64)
    for item in np.argsort(-weight, axis=1, kind="stable").T:
        lightest = load.argmin(axis=1)
        before = used[row, lightest]
        pack[row, item] = lightest
        place[row, item] = before
        used[row, lightest] = before + 1
        filled = load[row, lightest] + weight[row, item]
        load[row, lightest] = np.where(before + 1 < room, filled, np.float32(np.inf))
    return pack, place


def _replicate(
    weight: NDArray[np.float32], num_replicas: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Give one replica after another to the expert with the highest load per replica.

    Returns
    -------
    (rows, num_replicas) expert of each replica and how many it had before; (rows, experts) counts.
    """
    rows, experts = weight.shape
    row = np.arange(rows)
    expert = np.zeros((rows, num_replicas), np.int64)
    copy = np.zeros((rows, num_replicas), np.int64)
    expert[:, :experts] = np.arange(experts)
    count = np.ones((rows, experts), np.int64)
    share = weight.copy()
    for replica in range(experts, num_replicas):
        chosen = share.argmax(axis=1)
        before = count[row, chosen]
        expert[:, replica] = chosen
        copy[:, replica] = before
        count[row, chosen] = before + 1
        share[row, chosen] = weight[row, chosen] / (before + 1).astype(np.float32)
    return expert, copy, count


def _maps(
    expert: NDArray[np.int64], copy: NDArray[np.int64], slot: NDArray[np.int64], num_experts: int
) -> Maps:
    """Return EPLB's three maps from the expert, copy number and slot of every replica."""
    layers = expert.shape[0]
    row = np.arange(layers)[:, None]
    phy2log = np.empty_like(expert)
    phy2log[row, slot] = expert
    logcnt = np.zeros((layers, num_experts), np.int64)
    np.add.at(logcnt, (row, expert), 1)
    log2phy = np.full((layers, num_experts, int(logcnt.max())), -1, np.int64)
    log2phy[row, expert, copy] = slot
    return phy2log, log2phy, logcnt
