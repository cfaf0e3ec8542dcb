"""Arrays as a page carries them: small integers behind one another, deflated, base64."""

from __future__ import annotations

import base64
import zlib
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

STEPS = {"uint8": 255, "uint16": 65535}


class Packer:
    """Collects arrays; each is quantized to whole steps between its least and largest value."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._size = 0
        self._index: dict[str, dict[str, Any]] = {}

    def add(
        self, name: str, array: NDArray[Any], dtype: str = "uint16", *, exact: bool = False
    ) -> None:
        """Put an array in; an entry x is read as ``least + scale · x``.

        Parameters
        ----------
        name
            Unique name.
        array
            Finite numbers, any shape.
        dtype
            ``uint8`` or ``uint16`` (error at most half a step of 1/255 or 1/65535 of the
            range), or ``int16``.
        exact
            The entries are whole numbers that the type holds as they are.
        """
        least, scale = 0.0, 1.0
        if exact:
            whole = np.asarray(array).astype(dtype)
        else:
            least = float(array.min(initial=0.0))
            scale = float(array.max(initial=0.0) - least) / STEPS[dtype] or 1.0
            whole = np.rint((array - least) / scale).astype(dtype)
        data = np.ascontiguousarray(whole).astype(whole.dtype.newbyteorder("<")).tobytes()
        self._index[name] = {
            "at": self._size,
            "dtype": dtype,
            "shape": list(array.shape),
            "least": least,
            "scale": scale,
        }
        padding = len(data) % 2  # the next array of two bytes an entry has to start evenly
        self._parts.append(data + b"\0" * padding)
        self._size += len(data) + padding

    def to_dict(self) -> dict[str, Any]:
        """Return what the page reads: an index and the bytes."""
        deflated = zlib.compress(b"".join(self._parts), 9)
        return {"index": self._index, "zlib": base64.b64encode(deflated).decode("ascii")}


def unpacked(packed: dict[str, Any], name: str) -> NDArray[np.float64]:
    """Return one array as the page reads it; the tests hold it against the model."""
    entry = packed["index"][name]
    data = zlib.decompress(base64.b64decode(packed["zlib"]))
    dtype = np.dtype(entry["dtype"]).newbyteorder("<")
    count = int(np.prod(entry["shape"], dtype=np.int64))
    whole = np.frombuffer(data, dtype, count, entry["at"]).reshape(entry["shape"])
    values: NDArray[np.float64] = entry["least"] + entry["scale"] * whole
    return values
