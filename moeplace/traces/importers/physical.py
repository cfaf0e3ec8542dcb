"""Counts and ids of slots ("physical experts") brought back to logical experts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from moeplace.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray


def slot_map(values: ArrayLike, where: str, num_experts: int | None) -> tuple[NDArray[Any], int]:
    """Check a physical-to-logical map.

    Parameters
    ----------
    values
        (layers, slots) logical expert of each slot, −1 for an empty one.
    where
        File and place, for messages.
    num_experts
        Logical experts per layer; by default the largest of the map + 1, which is exact since a
        valid map holds every expert.

    Returns
    -------
    map, experts
        The map as int64 and the number of experts.

    Raises
    ------
    InputError
        If the shape or a value is wrong.
    """
    try:
        table = np.asarray(values, dtype=np.int64)
    except (TypeError, ValueError, OverflowError) as error:
        raise InputError(f"{where}: the map is no table of whole numbers") from error
    if table.ndim != 2 or not table.size or table.min() < -1:
        raise InputError(f"{where}: the map has shape {table.shape}; [layers][slots] expected")
    experts = num_experts or int(table.max()) + 1
    if table.max() >= experts:
        raise InputError(f"{where}: the map names expert {table.max()} of {experts}")
    return table, experts


def logical_counts(counts: ArrayLike, table: NDArray[Any], experts: int, where: str) -> Any:
    """Return (layers, experts) counts from (layers, slots) counts.

    Raises
    ------
    InputError
        If the counts do not fit the map, are negative or not finite, or an empty slot has some.
    """
    try:
        values = np.asarray(counts, dtype=np.float64)
    except (TypeError, ValueError, OverflowError) as error:
        raise InputError(f"{where}: the counts are no table of numbers") from error
    if values.shape != table.shape:
        raise InputError(f"{where}: counts have shape {values.shape}, the map {table.shape}")
    if not np.isfinite(values).all() or (values < 0).any() or values[table < 0].any():
        raise InputError(f"{where}: counts must be finite, ≥ 0, and 0 in empty slots")
    layers = np.arange(table.shape[0])[:, None] * (experts + 1)
    keys = (layers + np.where(table < 0, experts, table)).ravel()
    size = table.shape[0] * (experts + 1)
    total = np.bincount(keys, values.ravel(), minlength=size).reshape(-1, experts + 1)
    return total[:, :experts]


def logical_ids(ids: NDArray[Any], table: NDArray[Any], where: str) -> NDArray[np.int64]:
    """Return logical ids from the slots that tokens used; −1 stays.

    Parameters
    ----------
    ids
        (layers, tokens, top_k) slots, −1 absent.
    table
        (layers, slots) logical expert of each slot.
    where
        File and place, for messages.

    Raises
    ------
    InputError
        If a slot is not in the map, or is empty.
    """
    if ids.ndim != 3 or ids.shape[0] != table.shape[0]:
        raise InputError(f"{where}: ids have shape {ids.shape}, the map {table.shape}")
    if ids.size and (ids.min() < -1 or ids.max() >= table.shape[1]):
        raise InputError(f"{where}: slot {ids.max()} of {table.shape[1]}")
    layers = np.arange(table.shape[0])[:, None, None]
    found = np.where(ids < 0, -1, table[layers, np.maximum(ids, 0)])
    if ((ids >= 0) & (found < 0)).any():
        raise InputError(f"{where}: a token used an empty slot")
    return found.astype(np.int64)
