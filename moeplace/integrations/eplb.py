"""``rebalance_experts`` of deepseek-ai/EPLB (eplb.py), for whoever calls that function."""

from __future__ import annotations

from typing import Any

from moeplace.formulations.rebalance import SLACK
from moeplace.formulations.rebalance import rebalance_experts as rebalance
from moeplace.integrations.tensors import like, to_numpy

__all__ = ["rebalance_experts"]


def rebalance_experts(
    weight: Any,
    num_replicas: int,
    num_groups: int,
    num_nodes: int,
    num_gpus: int,
    old: Any = None,
    *,
    slack: float = SLACK,
) -> tuple[Any, Any, Any]:
    """Return ``phy2log``, ``log2phy`` and ``logcnt`` as EPLB does; tensors for tensors.

    Groups and nodes are checked by EPLB's rules, but groups are not tied to nodes. Every process
    that calls it with the same arguments gets the same map.

    Parameters
    ----------
    weight
        (layers, experts) loads: a NumPy array, a list or a tensor on any device.
    num_replicas
        Slots of a layer: a multiple of `num_gpus`, at least the number of experts.
    num_groups, num_nodes, num_gpus
        Expert groups of the router, nodes and devices.
    old
        (layers, num_replicas) the map in use. With it few slots change.
    slack
        How much fuller, relatively, the fullest device may be than without `old`.

    Returns
    -------
    (layers, num_replicas), (layers, experts, most replicas) padded with −1, and (layers, experts),
    all int64 on the CPU.

    Raises
    ------
    InputError
        If the numbers do not divide, or a value is out of range.
    """
    found = rebalance(
        to_numpy(weight),
        num_replicas,
        num_groups,
        num_nodes,
        num_gpus,
        current=None if old is None else to_numpy(old),
        slack=slack,
    )
    phy2log, log2phy, logcnt = (like(array, weight) for array in found)
    return phy2log, log2phy, logcnt
