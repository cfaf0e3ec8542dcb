"""Safetensors files: 8 bytes of header length, a JSON header, raw little-endian arrays.

The format is described at https://github.com/huggingface/safetensors (README, "Format").
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from moeplace.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray

LONGEST_HEADER = 100_000_000  # the format's own limit
DTYPES = {
    "BOOL": "?",
    "U8": "<u1",
    "I8": "<i1",
    "U16": "<u2",
    "I16": "<i2",
    "U32": "<u4",
    "I32": "<i4",
    "U64": "<u8",
    "I64": "<i8",
    "F16": "<f2",
    "BF16": "<u2",
    "F32": "<f4",
    "F64": "<f8",
}


@dataclass(frozen=True)
class Tensor:
    """An array in a file: its name, dtype as the format calls it, shape, first byte."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    offset: int


@dataclass(frozen=True)
class SafetensorsFile:
    """The header of a safetensors file; arrays are mapped when asked for."""

    path: Path
    tensors: Mapping[str, Tensor]
    metadata: Mapping[str, str]

    def array(self, name: str) -> NDArray[Any]:
        """Return one array; bfloat16 becomes float32, others are a read-only view of the file.

        Parameters
        ----------
        name
            A key of `tensors`.
        """
        tensor = self.tensors[name]
        if 0 in tensor.shape:
            return np.zeros(tensor.shape, dtype=DTYPES[tensor.dtype])
        values: NDArray[Any] = np.memmap(
            self.path, DTYPES[tensor.dtype], "r", tensor.offset, tensor.shape or (1,)
        )
        if tensor.dtype == "BF16":
            values = (values.astype(np.uint32) << 16).view(np.float32)
        return values.reshape(tensor.shape)


def looks_like_safetensors(path: Path) -> bool:
    """Tell whether a file starts as safetensors do; never raises."""
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            return 2 <= length <= LONGEST_HEADER and file.read(1) == b"{"
    except OSError:
        return False


def open_safetensors(path: Path) -> SafetensorsFile:
    """Read the header of a safetensors file and check every extent in it.

    Parameters
    ----------
    path
        The file.

    Raises
    ------
    InputError
        If it is missing, cut or corrupt; the message names the offset.
    """
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            head = file.read(8)
            length = int.from_bytes(head, "little")
            if len(head) < 8 or not 2 <= length <= LONGEST_HEADER:
                raise InputError(f"{path}: no safetensors file: bytes 0 to 7 are no header length")
            text = file.read(length)
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file") from error
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from error
    if len(text) < length:
        raise InputError(f"{path}: cut at byte {size:,}; the header goes on to {length + 8:,}")
    try:
        header = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: header at byte 8 is not JSON ({error})") from error
    if not isinstance(header, dict):
        raise InputError(f"{path}: header at byte 8 is not a JSON object")
    metadata = header.pop("__metadata__", {})
    tensors = {name: _tensor(path, name, entry, length + 8, size) for name, entry in header.items()}
    return SafetensorsFile(path, tensors, metadata if isinstance(metadata, dict) else {})


def _tensor(path: Path, name: str, entry: Any, start: int, size: int) -> Tensor:
    try:
        dtype, shape = str(entry["dtype"]), tuple(int(n) for n in entry["shape"])
        first, last = (int(n) for n in entry["data_offsets"])
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path}: header entry {name!r} is malformed") from error
    if dtype not in DTYPES:
        raise InputError(f"{path}: {name!r} has dtype {dtype}; known: {', '.join(DTYPES)}")
    if min(shape, default=1) < 0:
        raise InputError(f"{path}: {name!r} has shape {list(shape)}")
    needed = math.prod(shape) * np.dtype(DTYPES[dtype]).itemsize
    if first < 0 or last - first != needed:
        raise InputError(f"{path}: {name!r} says bytes {first} to {last}, its shape {needed}")
    if start + last > size:
        raise InputError(f"{path}: cut at byte {size:,}; {name!r} goes on to byte {start + last:,}")
    return Tensor(name, dtype, shape, start + first)
