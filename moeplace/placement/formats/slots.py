"""Full and equal slots, which engines demand and solvers need not give."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from moeplace.errors import InfeasibleError, InputError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from moeplace.placement.placement import Placement

TIE_DIGITS = 12  # shares of the load that differ by rounding only are equal


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

    Slots are filled in order. A slot gets, among the experts that its rank does not hold, the one
    that leaves the least load on the fullest rank when replicas share evenly; equal ones by the
    least squared load of all ranks, then by fewest replicas, then by lowest id. A copy of a busy
    expert on a full rank would slow the layer down.
    The same input always gives the same placement. O(experts · ranks) for each slot.

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
    copies = placement.replicas_on_rank[layer].astype(np.float64)  # (experts, ranks)
    occupied = np.bincount(placement.rank_of_slot[row >= 0], minlength=placement.num_ranks)
    goal = int(occupied.max()) if level else row.size
    unit = load / max(float(load.sum()), np.finfo(float).tiny)
    for slot in np.flatnonzero(row < 0):
        rank = placement.rank_of_slot[slot]
        if occupied[rank] >= goal:
            continue
        free = np.flatnonzero(copies[:, rank] == 0)
        if free.size == 0:
            raise InfeasibleError(
                f"rank {rank} has more slots than the {placement.num_experts} experts can fill "
                f"without a second copy (row {layer}); use fewer slots a rank"
            )
        count = copies.sum(axis=1)
        now = (unit / count) @ copies
        share = unit[free] / (count[free] + 1)
        after = now + copies[free] * (share - unit[free] / count[free])[:, None]
        after[:, rank] += share
        fullest = np.round(after.max(axis=1), TIE_DIGITS)
        spread = np.round((after**2).sum(axis=1), TIE_DIGITS)
        expert = free[np.lexsort((free, count[free], spread, fullest))[0]]
        row[slot] = expert
        copies[expert, rank] = 1
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
