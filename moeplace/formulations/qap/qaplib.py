from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from moeplace.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray


def read_qaplib(path: str | Path) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Read a ``.dat`` file of QAPLIB: the size and two matrices.

    Parameters
    ----------
    path
        The file; numbers separated by blanks, line ends or commas.

    Returns
    -------
    Both (n, n) matrices in their order in the file.

    Raises
    ------
    InputError
        If the file is missing, holds other things than numbers, or not as many as its size says.
    """
    numbers = _numbers(Path(path))
    size = int(numbers[0]) if numbers.size else 0
    if size < 1 or numbers.size != 1 + 2 * size * size:
        raise InputError(
            f"{path}: a size n and two n × n matrices are needed, "
            f"got n = {size} and {max(0, numbers.size - 1)} more numbers"
        )
    first, second = numbers[1:].reshape(2, size, size)
    return first.copy(), second.copy()


def read_qaplib_value(path: str | Path) -> float:
    """Read the value in a ``.sln`` file of QAPLIB: its second number.

    Raises
    ------
    InputError
        If the file is missing or too short.
    """
    numbers = _numbers(Path(path))
    if numbers.size < 2:
        raise InputError(f"{path}: a size and a value are needed")
    return float(numbers[1])


def _numbers(path: Path) -> NDArray[np.float64]:
    try:
        words = path.read_text(encoding="utf-8").replace(",", " ").split()
        return np.array(words, dtype=np.float64)
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read as QAPLIB numbers ({error})") from None
