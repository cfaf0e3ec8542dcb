"""A drop-in for EPLB's ``rebalance_experts`` with better balanced maps."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from moeplace.formulations.heuristics.balance import balanced_table, max_rank_load
from moeplace.formulations.heuristics.eplb import checked_policy, checked_weight

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

CLOSE_ENOUGH = 1e-3  # relative distance from the bound at which a layer is left
SLACK = 0.02  # fullest device over that of the map from scratch which spares many moves
FAR = 5e-3  # relative distance from the mean at which other replica counts are tried


def rebalance_experts(
    weight: ArrayLike,
    num_replicas: int,
    num_groups: int,
    num_nodes: int,
    num_gpus: int,
    *,
    current: ArrayLike | None = None,
    slack: float = SLACK,
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Return maps as EPLB does, from and to logical experts, with better balance.

    Every slot is filled, all devices have the same number, and no expert lies twice on a device
    (EPLB's may; such a replica is a wasted slot). The fullest device of a layer is never fuller
    than under EPLB's global policy, unless that one puts an expert twice on a device. Expert
    groups are not tied to nodes, as in EPLB's global policy; groups and nodes are checked by
    EPLB's own rules, so that the same calls are accepted.

    With `current` the map in use is repaired instead, step by step, until the fullest device of a
    layer is within `slack` of the one of the map from scratch; a layer where that fails gets the
    map from scratch, its devices renamed so that the most replicas stay. Experts that stay on
    their device keep their slot. The same arguments give the same map in every process.

    Complexity: greedy replicas, packing and swaps, about 0.06 ms for a layer of 256 experts. A
    layer within 0.1 % of the lower bound is left as it is.

    Parameters
    ----------
    weight
        (layers, experts) loads, finite and ≥ 0; anything NumPy can read, tensors included.
    num_replicas
        Slots of a layer: a multiple of `num_gpus`, at least the number of experts. With more than
        experts × `num_gpus` slots duplicates on a device cannot be avoided.
    num_groups, num_nodes
        Expert groups of the router, and nodes.
    num_gpus
        Devices.
    current
        (layers, num_replicas) the expert in each slot now, −1 empty; of another shape it is
        ignored, and a layer that lacks an expert or has empty slots is not repaired.
    slack
        How much fuller, relatively, the fullest device may be than without `current`.

    Returns
    -------
    ``phy2log`` (layers, num_replicas); ``log2phy`` (layers, experts, most replicas of any expert),
    −1 pads; ``logcnt`` (layers, experts). All int64.

    Raises
    ------
    InputError
        If the numbers do not divide, a weight is not finite and ≥ 0, `current` holds no integers,
        or `slack` is negative.
    """
    load = checked_weight(weight)
    layers, experts = load.shape
    checked_policy(experts, num_replicas, num_groups, num_nodes, num_gpus)
    slots = num_replicas // num_gpus
    if slots >= experts:
        # Every device holds every expert, and the same ones twice: perfectly balanced.
        row = np.tile(np.arange(slots) % experts, num_gpus)
        return maps_of_table(np.repeat(row[None, :], layers, axis=0), experts)
    # Only shares matter; this keeps sums of any loads that float64 can hold finite.
    load = load / np.maximum(load.max(axis=1, keepdims=True), np.finfo(np.float64).tiny)
    table = _table(load, num_gpus, slots)
    if current is not None:
        from moeplace.formulations.incremental import move_towards

        table = move_towards(load, table, current, num_gpus, slack)
    return maps_of_table(table, experts)


def _table(load: NDArray[np.float64], num_gpus: int, slots: int) -> NDArray[np.int32]:
    """Return (layers, slots) experts; layers far from their bound get other replica counts too."""
    from moeplace.formulations.heuristics.rebalance_kernels import balance_layers

    layers = load.shape[0]
    order = np.argsort(-load, axis=1, kind="stable")
    table = np.empty((layers, num_gpus, slots), np.int32)
    single = load.astype(np.float32)
    worst = balance_layers(load, single, order, CLOSE_ENOUGH, table)
    mean = load.sum(axis=1) / num_gpus
    far = np.flatnonzero(worst > mean * (1 + FAR))
    if far.size:
        replicas = num_gpus * slots
        other = balanced_table(
            load[far], num_gpus, slots, replicas, fill=True, close_enough=CLOSE_ENOUGH
        )
        better = max_rank_load(load[far], other, num_gpus) < worst[far]
        table[far[better]] = other.reshape(-1, num_gpus, slots)[better]
    return table.reshape(layers, -1)


def maps_of_table(
    table: NDArray[np.integer], num_experts: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Return EPLB's three maps of a (layers, slots) table without empty slots.

    The replicas of an expert are listed in slot order.
    """
    from moeplace.formulations.heuristics.eplb_kernels import list_slots

    phy2log = np.array(table, np.int64, order="C")
    layers = phy2log.shape[0]
    number = phy2log + num_experts * np.arange(layers)[:, None]
    logcnt = np.bincount(number.ravel(), minlength=layers * num_experts)
    logcnt = logcnt.astype(np.int64).reshape(layers, num_experts)
    log2phy = np.full((layers, num_experts, int(logcnt.max())), -1, np.int64)
    list_slots(phy2log, log2phy)
    return phy2log, log2phy, logcnt
