"""EPLB's algorithm in plain NumPy, layer by layer: what `rebalance_experts` is timed against.

Written from the published description (deepseek-ai/EPLB README): groups of experts are packed onto
nodes, experts replicated inside each node, replicas packed onto devices, heaviest first into the
lightest pack with room.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


def eplb_reference(
    weight: NDArray[np.float64],
    num_replicas: int,
    num_groups: int,
    num_nodes: int,
    num_gpus: int,
) -> NDArray[np.int64]:
    """Return (layers, num_replicas) the expert in every slot."""
    if num_groups % num_nodes:
        num_groups = num_nodes = 1
    layers, experts = weight.shape
    per_group, per_node = experts // num_groups, num_replicas // num_nodes
    gpus, slots = num_gpus // num_nodes, num_replicas // num_gpus
    phy2log = np.empty((layers, num_replicas), np.int64)
    for layer in range(layers):
        load = weight[layer].astype(np.float32)
        groups = _pack(load.reshape(num_groups, -1).sum(axis=1), num_nodes, num_groups // num_nodes)
        for node, packed in enumerate(groups):
            members = (np.array(packed)[:, None] * per_group + np.arange(per_group)).ravel()
            replica, count = _replicate(load[members], per_node)
            share = (load[members] / count)[replica]
            devices = _pack(share, gpus, slots)
            placed = np.concatenate([members[replica[device]] for device in devices])
            phy2log[layer, node * per_node : (node + 1) * per_node] = placed
    return phy2log


def _replicate(
    load: NDArray[np.float32], num_replicas: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    count = np.ones(load.size, np.int64)
    replica = list(range(load.size))
    for _ in range(load.size, num_replicas):
        heaviest = int(np.argmax(load / count))
        count[heaviest] += 1
        replica.append(heaviest)
    return np.array(replica), count


def _pack(weight: NDArray[np.float32], packs: int, room: int) -> list[list[int]]:
    load = np.zeros(packs, np.float32)
    packed: list[list[int]] = [[] for _ in range(packs)]
    for item in np.argsort(-weight, kind="stable"):
        lightest = int(np.argmin(load))
        packed[lightest].append(int(item))
        load[lightest] += weight[item]
        if len(packed[lightest]) == room:
            load[lightest] = np.inf
    return packed
