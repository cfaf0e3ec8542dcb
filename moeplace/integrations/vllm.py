"""A policy for vLLM's expert load balancer (vllm/distributed/eplb/policy/abstract.py).

vLLM calls ``rebalance_experts`` of a class. Releases from about 2026 pass the map in use and take
the physical-to-logical map back; earlier ones pass no map and take EPLB's three.
"""

from __future__ import annotations

import os
from importlib import import_module
from typing import Any

from moeplace.errors import BackendMissingError, InputError
from moeplace.formulations.rebalance import SLACK
from moeplace.integrations.eplb import rebalance_experts

SWITCH = "MOEPLACE_EPLB"  # environment variable that lets the plugin act
POLICIES = "vllm.distributed.eplb.policy"


class MoeplacePolicy:
    """Shaped like vLLM's ``AbstractEplbPolicy``, which it does not derive from.

    Attributes
    ----------
    slack
        How much fuller, relatively, the fullest rank may be than without the map in use; more of
        it moves fewer experts.
    """

    slack: float = SLACK

    @classmethod
    def rebalance_experts(
        cls,
        weight: Any,
        num_replicas: int,
        num_groups: int,
        num_nodes: int,
        num_ranks: int,
        old_global_expert_indices: Any = None,
    ) -> Any:
        """Return (layers, num_replicas) the expert of each slot, int64 on the CPU.

        Parameters
        ----------
        weight
            (layers, experts) loads of the window.
        num_replicas
            Slots of a layer, a multiple of `num_ranks`.
        num_groups, num_nodes, num_ranks
            Expert groups, nodes and ranks. vLLM's rules for them hold.
        old_global_expert_indices
            (layers, num_replicas) the map in use, −1 for unused slots.

        Raises
        ------
        InputError
            If the numbers do not divide, or a value is out of range.
        """
        return rebalance_experts(
            weight,
            num_replicas,
            num_groups,
            num_nodes,
            num_ranks,
            old_global_expert_indices,
            slack=cls.slack,
        )[0]


class MoeplaceMapsPolicy(MoeplacePolicy):
    """The same for releases that take EPLB's three maps (2025)."""

    @classmethod
    def rebalance_experts(
        cls,
        weight: Any,
        num_replicas: int,
        num_groups: int,
        num_nodes: int,
        num_ranks: int,
        old_global_expert_indices: Any = None,
    ) -> Any:
        """Return ``phy2log``, ``log2phy`` and ``logcnt``; parameters as for `MoeplacePolicy`."""
        return rebalance_experts(
            weight,
            num_replicas,
            num_groups,
            num_nodes,
            num_ranks,
            old_global_expert_indices,
            slack=cls.slack,
        )


def register(name: str = "default", policy: type[MoeplacePolicy] = MoeplacePolicy) -> None:
    """Put the policy into vLLM's table of policies; to be called in every process before serving.

    Parameters
    ----------
    name
        vLLM accepts no other name than ``default`` in its configuration, so that one is replaced.
    policy
        `MoeplaceMapsPolicy` for releases that take three maps.

    Raises
    ------
    BackendMissingError
        If vLLM is not installed or has no table of policies.
    """
    try:
        table = import_module(POLICIES).EPLB_POLICIES
    except (ImportError, AttributeError) as error:
        raise BackendMissingError(
            f"vLLM with {POLICIES}.EPLB_POLICIES is needed ({error}); install vllm, or pass "
            "moeplace.integrations.vllm.MoeplacePolicy to it yourself"
        ) from error
    table[name] = policy


def register_plugin() -> None:
    """Entry point of ``vllm.general_plugins``: register if MOEPLACE_EPLB is 1, else do nothing.

    Raises
    ------
    InputError
        If the variable is neither 0, 1 nor empty.
    BackendMissingError
        As for `register`.
    """
    switch = os.environ.get(SWITCH, "0")
    if switch not in ("", "0", "1"):
        raise InputError(f"{SWITCH} is {switch!r}; set it to 1 to use moeplace's policy, or to 0")
    if switch == "1":
        register()
