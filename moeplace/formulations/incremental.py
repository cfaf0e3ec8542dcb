"""A map in use, moved towards balance under new loads with few replicas copied."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from moeplace.errors import InputError
from moeplace.formulations.heuristics.balance import max_rank_load

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

MAX_STEPS = 150  # of a layer; measured loads that change from prefill to decode need about 20


def move_towards(
    load: NDArray[np.float64],
    scratch: NDArray[np.int32],
    current: ArrayLike,
    num_ranks: int,
    slack: float,
) -> NDArray[np.int32]:
    """Return (layers, slots) experts: the current map repaired, or the one from scratch renamed.

    Deterministic: no random numbers, no clock, one thread.

    Parameters
    ----------
    load
        (layers, experts) loads in any unit.
    scratch
        (layers, slots) a map without empty slots, to be come near to.
    current
        (layers, slots) the expert in each slot now, −1 empty; ignored where its shape differs.
    num_ranks
        R; slots are shared out equally.
    slack
        Relative distance from the fullest rank of `scratch` at which a layer is left.

    Raises
    ------
    InputError
        If `current` holds no integers or an id that is no expert, or `slack` is negative.
    """
    from moeplace.formulations.heuristics.repair_kernels import keep_slots, repair_layers

    if not slack >= 0 or not np.isfinite(slack):
        raise InputError(f"slack is {slack}; it must be finite and ≥ 0")
    old = _checked(current, load.shape[1])
    if old.shape != scratch.shape:
        return scratch
    shape = (scratch.shape[0], num_ranks, -1)
    table = scratch.copy()
    whole = np.flatnonzero(_is_whole(old, load.shape[1]))
    if whole.size:
        limit = max_rank_load(load[whole], scratch[whole], num_ranks) * (1 + slack)
        repaired = old[whole].reshape(whole.size, num_ranks, -1)
        worst = np.empty(whole.size)
        repair_layers(load[whole], repaired, limit, MAX_STEPS, worst)
        reached = worst <= limit * (1 + 1e-9)
        table[whole[reached]] = repaired.reshape(whole.size, -1)[reached]
        renamed = np.setdiff1d(np.arange(old.shape[0]), whole[reached])
    else:
        renamed = np.arange(old.shape[0])
    if renamed.size:
        table[renamed] = _rename(table[renamed], old[renamed], num_ranks, load.shape[1])
    by_rank = table.reshape(shape)
    keep_slots(by_rank, old.reshape(shape))
    return by_rank.reshape(scratch.shape)


def moved_slots(
    new: NDArray[np.integer], old: NDArray[np.integer], num_ranks: int
) -> NDArray[np.int64]:
    """Return (layers,) replicas in `new` on a rank that does not hold the expert in `old`.

    Both are (layers, slots), slots shared out equally; each is one copy of an expert's weights
    between ranks.
    """
    layers = new.shape[0]
    experts = int(max(new.max(initial=0), old.max(initial=0))) + 1

    def held(table: NDArray[np.integer]) -> NDArray[np.bool_]:
        found = np.zeros((layers, num_ranks, experts + 1), np.bool_)  # the last for empty slots
        np.put_along_axis(found, table.reshape(layers, num_ranks, -1), True, axis=2)
        return found[:, :, :experts]

    count: NDArray[np.int64] = (held(new) & ~held(old)).sum(axis=(1, 2), dtype=np.int64)
    return count


def _checked(current: ArrayLike, experts: int) -> NDArray[np.int32]:
    given = np.asarray(current)
    if given.dtype.kind not in "iu":
        raise InputError(f"current holds {given.dtype}; it must hold the ids of experts")
    wrong = (given < -1) | (given >= experts)
    if wrong.any():
        raise InputError(
            f"current: {given[wrong][0]} is no expert; experts are 0..{experts - 1}, −1 is empty"
        )
    return np.array(given, np.int32, order="C")


def _is_whole(old: NDArray[np.int32], experts: int) -> NDArray[np.bool_]:
    layers = old.shape[0]
    found = np.zeros((layers, experts + 1), np.bool_)
    np.put_along_axis(found, old, True, axis=1)  # −1 is the last column
    whole: NDArray[np.bool_] = found[:, :experts].all(axis=1) & ~found[:, experts]
    return whole


def _rename(
    table: NDArray[np.int32], old: NDArray[np.int32], num_ranks: int, experts: int
) -> NDArray[np.int32]:
    """Give the ranks of each layer other numbers so that the most replicas stay where they are."""
    from scipy.optimize import linear_sum_assignment

    from moeplace.formulations.heuristics.repair_kernels import common_experts

    layers = table.shape[0]
    by_rank = table.reshape(layers, num_ranks, -1)
    common = np.empty((layers, num_ranks, num_ranks), np.int64)
    common_experts(by_rank, old.reshape(layers, num_ranks, -1), experts, common)
    renamed = np.empty_like(by_rank)
    for layer in range(layers):
        rank, target = linear_sum_assignment(common[layer], maximize=True)
        renamed[layer, target] = by_rank[layer, rank]
    return renamed.reshape(layers, -1)
