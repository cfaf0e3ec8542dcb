"""A dictionary of tables as `torch.save` writes it, without PyTorch.

The archive holds a pickle that names tensors by storage, and the storages as raw bytes; layout as
`torch.save` of PyTorch 2 writes it (format version 3, little endian).
"""

from __future__ import annotations

import struct
import zipfile
from typing import TYPE_CHECKING, Any

import numpy as np

from moeplace.files import atomic_write

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray

STORAGES = {"int64": "LongStorage", "int32": "IntStorage", "float64": "DoubleStorage"}
EPOCH = (1980, 1, 1, 0, 0, 0)  # the same content gives the same bytes
ALIGNMENT = 64
LOCAL_HEADER = 30  # bytes of a zip entry before its name


def write_torch(path: str | Path, content: Mapping[str, Any] | NDArray[Any]) -> None:
    """Write one array, or a dictionary of arrays, integers, floats and None.

    `torch.load(path, weights_only=True)` gives tensors of the same type and shape.

    Parameters
    ----------
    path
        File to write.
    content
        Arrays are int32, int64 or float64.

    Raises
    ------
    InputError
        If the file cannot be written.
    TypeError
        If a value is of another kind.
    """
    storages: list[bytes] = []
    pickled = b"\x80\x02" + _pickle(content, storages) + b"."
    with atomic_write(path, "wb") as file, zipfile.ZipFile(file, "w") as archive:
        _add(archive, "archive/data.pkl", pickled)
        _add(archive, "archive/byteorder", b"little")
        for number, data in enumerate(storages):
            _add(archive, f"archive/data/{number}", data)
        _add(archive, "archive/version", b"3\n")


def _add(archive: zipfile.ZipFile, name: str, data: bytes) -> None:
    entry = zipfile.ZipInfo(name, EPOCH)
    start = archive.fp.tell() + LOCAL_HEADER + len(name) if archive.fp else 0
    if pad := -start % ALIGNMENT:
        pad += ALIGNMENT * (pad < 4)  # an extra field has a head of 4 bytes
        entry.extra = struct.pack("<2sH", b"FB", pad - 4) + b"Z" * (pad - 4)
    archive.writestr(entry, data)


def _pickle(value: Any, storages: list[bytes]) -> bytes:
    if isinstance(value, np.ndarray):
        return _tensor(value, storages)
    if value is None:
        return b"N"
    if isinstance(value, float):
        return b"G" + struct.pack(">d", value)
    if isinstance(value, int):
        return b"J" + struct.pack("<i", value)
    if isinstance(value, str):
        text = value.encode()
        return b"X" + struct.pack("<I", len(text)) + text
    if isinstance(value, dict):
        items = b"".join(_pickle(k, storages) + _pickle(v, storages) for k, v in value.items())
        return b"}(" + items + b"u"
    raise TypeError(f"{type(value).__name__} cannot be written")


def _tensor(array: NDArray[Any], storages: list[bytes]) -> bytes:
    """Return the call of `torch._utils._rebuild_tensor_v2` that makes the tensor."""
    kind = STORAGES.get(array.dtype.name)
    if kind is None:
        raise TypeError(f"arrays of {array.dtype} cannot be written")
    data = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
    storage = b"".join(
        (
            b"(",
            _pickle("storage", storages),
            f"ctorch\n{kind}\n".encode(),
            _pickle(str(len(storages)), storages),
            _pickle("cpu", storages),
            _pickle(data.size, storages),
            b"tQ",
        )
    )
    storages.append(data.tobytes())
    stride = [int(np.prod(data.shape[axis + 1 :])) for axis in range(data.ndim)]
    return b"".join(
        (
            b"ctorch._utils\n_rebuild_tensor_v2\n(",
            storage,
            _pickle(0, storages),
            _tuple(data.shape, storages),
            _tuple(stride, storages),
            b"\x89ccollections\nOrderedDict\n)RtR",
        )
    )


def _tuple(numbers: Any, storages: list[bytes]) -> bytes:
    return b"(" + b"".join(_pickle(int(number), storages) for number in numbers) + b"t"
