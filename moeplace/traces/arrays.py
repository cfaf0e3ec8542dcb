"""Read-only arrays: what a frozen dataclass holds cannot be changed behind its back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from moeplace.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, DTypeLike, NDArray


def frozen(values: ArrayLike, dtype: DTypeLike) -> NDArray[Any]:
    """Return `values` as a contiguous read-only array; the caller's own array stays writable.

    Parameters
    ----------
    values
        Anything NumPy can turn into an array.
    dtype
        The dtype of the result; the conversion is not checked for overflow.
    """
    given = np.asarray(values)
    array = np.ascontiguousarray(given, dtype=dtype)
    if array.flags.writeable and np.may_share_memory(array, given):
        array = array.copy()
    array.setflags(write=False)
    return array


def integers(values: ArrayLike, what: str) -> NDArray[Any]:
    """Return `values` as an array of an integer dtype, or say what is wrong with them.

    Parameters
    ----------
    values
        Whole numbers.
    what
        How the array is called in the error message.

    Raises
    ------
    InputError
        If the values are ragged, or of another kind than whole numbers.
    """
    try:
        array = np.asarray(values)
    except ValueError as error:
        raise InputError(f"{what}: rows of different lengths do not form an array") from error
    if array.dtype.kind not in "iu":
        if array.size == 0:
            return array.astype(np.int64)
        raise InputError(f"{what}: whole numbers expected, found {array.dtype}")
    return array


def id_dtype(num_experts: int, *, with_missing: bool) -> np.dtype[Any]:
    """Return the smallest unsigned dtype for expert ids, with room for the sentinel if needed.

    Parameters
    ----------
    num_experts
        Logical experts per layer; ids are 0..num_experts − 1.
    with_missing
        Whether the largest value of the dtype must stay free to mark a missing id.
    """
    largest = num_experts - 1 + int(with_missing)
    for dtype in (np.uint8, np.uint16, np.uint32):
        if largest <= np.iinfo(dtype).max:
            return np.dtype(dtype)
    raise InputError(f"{num_experts} experts a layer are more than this format can hold")
