"""Plain values to checked values: messages name the file, the row and the key."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from moeplace.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

_INT32_MAX = int(np.iinfo(np.int32).max)


def mapping(
    value: Any, where: str, required: Iterable[Any], optional: Iterable[Any] = ()
) -> dict[Any, Any]:
    """Return a mapping that has all required keys and no unknown one.

    Raises
    ------
    InputError
        If the value is not a mapping, a key is missing, or a key is unknown.
    """
    if not isinstance(value, dict):
        raise InputError(f"{where}: a mapping is expected, not {_kind(value)}")
    needed = tuple(required)
    allowed = {*needed, *optional}
    for key in needed:
        if key not in value:
            raise InputError(f"{where}: key {key!r} is missing")
    for key in value:
        if key not in allowed:
            known = ", ".join(sorted(allowed))
            raise InputError(f"{where}: unknown key {key!r}; the keys are {known}")
    return value


def sequence(value: Any, where: str, length: int | None = None) -> list[Any]:
    """Return a list, of a given length where one is given.

    Raises
    ------
    InputError
        If the value is not a list or has another length.
    """
    if not isinstance(value, list):
        raise InputError(f"{where}: a list is expected, not {_kind(value)}")
    if length is not None and len(value) != length:
        raise InputError(f"{where}: {len(value)} entries, expected {length}")
    return value


def integer(value: Any, where: str, low: int = 0, high: int = _INT32_MAX) -> int:
    """Return an integer in low..high; true and 1.0 are not integers.

    Raises
    ------
    InputError
        If the value is not an integer or out of range.
    """
    if type(value) is not int:
        raise InputError(f"{where}: an integer is expected, not {_kind(value)}")
    if not low <= value <= high:
        raise InputError(f"{where}: {value} is out of range {low}..{high}")
    return value


def expert_row(value: Any, where: str, *, experts: int = 0, empty: bool = False) -> list[int]:
    """Return one row of expert ids.

    Parameters
    ----------
    value
        What the file holds.
    where
        File and row, for messages.
    experts
        Number of experts; 0 where it is not known.
    empty
        Whether −1 (an empty slot) is allowed.

    Raises
    ------
    InputError
        If the value is not a list of integers or an id is out of range.
    """
    row = sequence(value, where)
    low, high = -1 if empty else 0, experts - 1 if experts else _INT32_MAX - 1
    for slot, expert in enumerate(row):
        if type(expert) is not int:
            raise InputError(f"{where}, slot {slot}: an expert id is expected, not {_kind(expert)}")
        if not low <= expert <= high:
            limit = f"{low}..{high}" if experts else f"{low} and up"
            raise InputError(f"{where}, slot {slot}: expert {expert} is out of range {limit}")
    return row


def expert_table(
    where: str | Path,
    rows: Sequence[Any],
    labels: Sequence[str],
    *,
    experts: int = 0,
    empty: bool = False,
) -> NDArray[np.int32]:
    """Return a (rows, slots) int32 table from rows of equal length.

    Parameters
    ----------
    where, labels
        The file and the name of each row in it, for messages.
    rows
        What the file holds.
    experts, empty
        As for `expert_row`.

    Raises
    ------
    InputError
        If a row is bad, empty, or of another length than the first.
    """
    names = [f"{where}, {label}" for label in labels]
    checked = [
        expert_row(row, name, experts=experts, empty=empty)
        for row, name in zip(rows, names, strict=True)
    ]
    if not checked or not checked[0]:
        raise InputError(f"{names[0] if names else where}: there are no slots")
    for row, name in zip(checked, names, strict=True):
        if len(row) != len(checked[0]):
            raise InputError(
                f"{name}: {len(row)} slots, but {labels[0]} has {len(checked[0])}; "
                "all layers need the same number"
            )
    return np.array(checked, np.int32)


def integer_array(value: Any, where: str, ndim: int) -> NDArray[Any]:
    """Return an array of integers with the given number of dimensions.

    Raises
    ------
    InputError
        If it is none, or a value does not fit into 32 bits.
    """
    array = np.asarray(value)
    if array.ndim != ndim or array.dtype.kind not in "iu":
        raise InputError(
            f"{where}: an integer array with {ndim} dimension(s) is expected, "
            f"not {array.dtype} with {array.ndim}"
        )
    if array.size and (int(array.max()) > _INT32_MAX or int(array.min()) < -_INT32_MAX):
        raise InputError(f"{where}: a value does not fit into 32 bits")
    return array


def _kind(value: Any) -> str:
    text = repr(value)
    short = text if len(text) <= 40 else text[:37] + "..."
    return f"{type(value).__name__} {short}"
