"""Whether the experts of a model fit into the slots and the memory of a system."""

from __future__ import annotations

from operator import index
from typing import TYPE_CHECKING, SupportsIndex

from moeplace.errors import InfeasibleError, InputError
from moeplace.models import DTYPE_BYTES

if TYPE_CHECKING:
    from moeplace.hwmodels import System
    from moeplace.models import ModelSpec


def whole(name: str, value: SupportsIndex) -> int:
    """Return a whole number, or raise an InputError that names the value."""
    try:
        return index(value)
    except TypeError:
        raise InputError(f"{name} is {value!r}; it must be a whole number") from None


def check_capacity(
    model: ModelSpec, system: System, redundant: int, slots_per_rank: int | None, dtype: str
) -> int:
    """Return the slots of a rank: as asked for, or as few as hold experts and redundancy.

    Raises
    ------
    InputError
        If a number or the dtype is not usable.
    InfeasibleError
        If the experts do not fit into the slots or the memory.
    """
    if redundant < 0:
        raise InputError(f"redundant is {redundant}; it cannot be negative")
    if dtype not in DTYPE_BYTES:
        raise InputError(f"unknown weight dtype {dtype!r}: use one of {', '.join(DTYPE_BYTES)}")
    experts, ranks = model.num_experts, system.ranks
    if redundant > experts * (ranks - 1):
        raise InfeasibleError(
            f"{redundant} redundant experts: {ranks} ranks hold at most one replica of each of "
            f"{experts} experts, so at most {experts * (ranks - 1)} are possible"
        )
    slots = -(-(experts + redundant) // ranks)
    if slots_per_rank is not None:
        slots = whole("slots_per_rank", slots_per_rank)
    if slots * ranks < experts:
        raise InfeasibleError(
            f"{experts} experts do not fit into {ranks} ranks x {slots} slots = {slots * ranks}; "
            "use more ranks or slots"
        )
    expert_bytes = model.expert_params * DTYPE_BYTES[dtype]
    free = system.expert_memory_bytes(model, dtype)
    need = slots * model.num_moe_layers * expert_bytes
    if need > free:
        fit = max(0, int(free // (model.num_moe_layers * expert_bytes)))
        raise InfeasibleError(
            f"{model.name} in {dtype} does not fit on {system.name} with {ranks} ranks: {slots} "
            f"slots x {model.num_moe_layers} layers need {need / 2**30:.1f} GiB a rank, "
            f"{max(free, 0) / 2**30:.1f} GiB are free for experts (room for {fit} slots); use more "
            "ranks, fewer redundant experts or a smaller weight dtype"
        )
    return slots
