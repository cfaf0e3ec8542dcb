"""The balancing function of SGLang (sglang/srt/eplb/eplb_algorithms, ``rebalance_experts``).

SGLang calls it on every rank at start with recorded loads and then after every so many passes.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

from moeplace.errors import BackendMissingError, InputError
from moeplace.formulations.rebalance import SLACK
from moeplace.integrations import eplb
from moeplace.integrations.tensors import like, to_numpy

ALGORITHMS = "sglang.srt.eplb.eplb_algorithms"
LOCATION = "sglang.srt.eplb.expert_location"


def rebalance_experts(
    tokens_per_expert: Any,
    num_physical_experts: int,
    num_local_physical_experts: int,
    num_groups: int | None,
    num_nodes: int,
    algorithm: Any = None,
    *,
    old: Any = None,
    slack: float = SLACK,
) -> tuple[Any, Any, Any]:
    """Return the physical-to-logical map, the slots of each expert and the replica counts.

    Rows are hidden layers, those of dense layers included (their loads are 0; they get a map that
    names every expert, as SGLang needs). Every rank that calls it with the same arguments gets the
    same map.

    Parameters
    ----------
    tokens_per_expert
        (steps, layers, experts) or (layers, experts) tokens; steps are added up.
    num_physical_experts
        Slots of a layer.
    num_local_physical_experts
        Slots of a rank.
    num_groups, num_nodes
        Expert groups of the router, None without groups; and nodes.
    algorithm
        What SGLang was started with; not used.
    old
        (layers, num_physical_experts) the map in use. With it few slots change.
    slack
        How much fuller, relatively, the fullest rank may be than without `old`.

    Returns
    -------
    As `moeplace.integrations.eplb.rebalance_experts`.

    Raises
    ------
    InputError
        If the numbers do not divide, or a value is out of range.
    """
    del algorithm
    tokens = to_numpy(tokens_per_expert)
    if tokens.ndim == 3:
        tokens = tokens.sum(axis=0)
    if num_local_physical_experts < 1 or num_physical_experts % num_local_physical_experts:
        raise InputError(
            f"{num_physical_experts} slots cannot be shared out to ranks of "
            f"{num_local_physical_experts}; choose --ep-num-redundant-experts so that they can"
        )
    found = eplb.rebalance_experts(
        tokens,
        num_physical_experts,
        1 if num_groups is None else num_groups,
        num_nodes,
        num_physical_experts // num_local_physical_experts,
        old,
        slack=slack,
    )
    first, second, third = (like(array, tokens_per_expert) for array in found)
    return first, second, third


def map_in_use() -> Any:
    """Return SGLang's physical-to-logical map, None before there is one.

    Raises
    ------
    BackendMissingError
        If SGLang is not installed.
    """
    metadata = _module(LOCATION).get_global_expert_location_metadata()
    return None if metadata is None else metadata.physical_to_logical_map


def install(*, slack: float = SLACK, keep: bool = True) -> None:
    """Replace SGLang's function by this one; to be called in every process before serving.

    Parameters
    ----------
    slack
        See `rebalance_experts`.
    keep
        Start from the map in use, so that few slots change.

    Raises
    ------
    BackendMissingError
        If SGLang is not installed.
    """

    def rebalance(*arguments: Any, **named: Any) -> tuple[Any, Any, Any]:
        old = map_in_use() if keep else None
        return rebalance_experts(*arguments, **named, old=old, slack=slack)

    _module(ALGORITHMS).rebalance_experts = rebalance


def _module(name: str) -> Any:
    try:
        return import_module(name)
    except ImportError as error:
        raise BackendMissingError(
            f"{name} cannot be imported ({error}); install sglang, or call "
            "moeplace.integrations.sglang.rebalance_experts yourself"
        ) from error
