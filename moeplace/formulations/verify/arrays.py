"""Arrays inside a JSON file: little-endian bytes, zlib, base64."""

from __future__ import annotations

import base64
import binascii
import zlib
from typing import TYPE_CHECKING, Any

import numpy as np

from moeplace.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

DTYPES = ("int8", "int16", "int32", "float32", "float64")
MOST_ENTRIES = 1 << 31  # a file of a few bytes cannot ask for all memory


def pack(array: NDArray[Any]) -> dict[str, Any]:
    """Return an array as a JSON object."""
    little = np.ascontiguousarray(array).astype(array.dtype.newbyteorder("<"), copy=False)
    return {
        "dtype": array.dtype.name,
        "shape": list(array.shape),
        "zlib": base64.b64encode(zlib.compress(little.tobytes(), 6)).decode("ascii"),
    }


def unpack(packed: Mapping[str, Any], where: str) -> NDArray[Any]:
    """Return the array of a JSON object.

    Parameters
    ----------
    packed
        From :func:`pack`.
    where
        What to call it in an error.

    Raises
    ------
    InputError
        If it is damaged.
    """
    try:
        dtype, shape = str(packed["dtype"]), tuple(int(n) for n in packed["shape"])
        size = int(np.prod(shape, dtype=np.int64))
        if dtype not in DTYPES or min(shape, default=0) < 0 or size > MOST_ENTRIES:
            raise ValueError(dtype)
        wanted = size * np.dtype(dtype).itemsize
        unzip = zlib.decompressobj()
        data = unzip.decompress(base64.b64decode(packed["zlib"], validate=True), wanted + 1)
        if len(data) != wanted:
            raise ValueError(len(data))
    except (KeyError, TypeError, ValueError, binascii.Error, zlib.error) as error:
        raise InputError(f"{where}: the array is damaged; write the result again") from error
    array = np.frombuffer(data, np.dtype(dtype).newbyteorder("<")).reshape(shape)
    return array.astype(dtype)
