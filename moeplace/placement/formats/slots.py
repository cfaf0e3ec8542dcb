"""Full and equal slots, which engines demand and solvers need not give."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from moeplace.errors import InfeasibleError, InputError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from moeplace.placement.placement import Placement


def pad_slots(placement: Placement) -> Placement:
    """Give every rank as many slots as the largest rank has; new slots are empty and come last."""
    counts = placement.slots_per_rank
    width = int(counts.max(initial=0))
    if np.all(counts == width):
        return placement
    first = np.cumsum(counts) - counts
    rank = placement.rank_of_slot.astype(np.int64)
    column = rank * width + np.arange(placement.num_slots) - first[rank]
    table = np.full((placement.num_layers, placement.num_ranks * width), -1, np.int32)
    table[:, column] = placement.expert_of_slot
    return placement.replace(
        expert_of_slot=table,
        rank_of_slot=np.repeat(np.arange(placement.num_ranks, dtype=np.int32), width),
    )


def fill_empty_slots(
    placement: Placement, load: ArrayLike | None = None, *, level: bool = False
) -> Placement:
    """Put an extra copy into every empty slot, after making the slots of all ranks equal in number.

    Slots are filled in order. A slot gets the expert whose replicas carry most load each among
    those that its rank does not hold; equal ones by fewest replicas, then by lowest id.
    The same input always gives the same placement.

    Parameters
    ----------
    placement
        Every expert has a slot in every layer.
    load
        (layers, experts) tokens routed; without it all experts count alike.
    level
        Fill a layer only until all its ranks hold as many experts as its fullest rank; slots
        beyond stay empty.

    Raises
    ------
    InputError
        If an expert has no slot, or the loads have another shape or are not finite and ≥ 0.
    InfeasibleError
        If a rank has more slots than there are experts to put there without a second copy.
    """
    padded = pad_slots(placement)
    weight = _checked_load(placement, load)
    missing = np.argwhere(padded.replica_count == 0)
    if missing.size:
        raise InputError(
            f"cannot fill empty slots: expert {missing[0, 1]} has no slot in row {missing[0, 0]}"
        )
    table = padded.expert_of_slot.copy()
    for layer in np.flatnonzero((table < 0).any(axis=1)):
        _fill_layer(padded, table[layer], int(layer), weight[layer], level=level)
    return padded.replace(expert_of_slot=table)


def _fill_layer(
    placement: Placement,
    row: NDArray[np.int32],
    layer: int,
    load: NDArray[np.float64],
    *,
    level: bool,
) -> None:
    count = placement.replica_count[layer].copy()
    held = placement.replicas_on_rank[layer] > 0
    occupied = np.bincount(placement.rank_of_slot[row >= 0], minlength=placement.num_ranks)
    goal = int(occupied.max()) if level else row.size
    for slot in np.flatnonzero(row < 0):
        rank = placement.rank_of_slot[slot]
        if occupied[rank] >= goal:
            continue
        free = np.flatnonzero(~held[:, rank])
        if free.size == 0:
            raise InfeasibleError(
                f"rank {rank} has more slots than the {placement.num_experts} experts can fill "
                f"without a second copy (row {layer}); use fewer slots a rank"
            )
        share = load[free] / count[free]
        free = free[share == share.max()]
        expert = free[np.argmin(count[free])]
        row[slot] = expert
        count[expert] += 1
        held[expert, rank] = True
        occupied[rank] += 1


def _checked_load(placement: Placement, load: ArrayLike | None) -> NDArray[np.float64]:
    shape = (placement.num_layers, placement.num_experts)
    if load is None:
        return np.ones(shape)
    weight = np.asarray(load, np.float64)
    if weight.shape != shape:
        raise InputError(f"load has shape {weight.shape}, the placement needs {shape}")
    if not np.isfinite(weight).all() or (weight < 0).any():
        raise InputError("load must be finite and not negative")
    return weight
