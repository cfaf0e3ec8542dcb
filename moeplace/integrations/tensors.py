"""Tensors in, tensors out, without importing the library that they belong to."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


def to_numpy(value: Any) -> NDArray[Any]:
    """Return the values of a tensor on any device, or of anything NumPy can read.

    Floating tensors are read as float64, since NumPy lacks some of their types (bfloat16).
    """
    if not hasattr(value, "detach"):
        return np.asarray(value)
    tensor = value.detach()
    if tensor.is_floating_point():
        tensor = tensor.double()
    return np.asarray(tensor.cpu().numpy())


def like(array: NDArray[Any], given: Any) -> Any:
    """Return `array` as a CPU tensor where `given` is a tensor, else as it is.

    The tensor library is the one that made `given`, which therefore is loaded already.
    """
    if not hasattr(given, "detach"):
        return array
    library = sys.modules[type(given).__module__.partition(".")[0]]
    return library.from_numpy(np.ascontiguousarray(array))
