"""The clock's readings of a run with a time limit, in a file."""

from __future__ import annotations

import zipfile
from typing import TYPE_CHECKING

from moeplace.clock import Readings
from moeplace.errors import InputError
from moeplace.files import atomic_write

if TYPE_CHECKING:
    from pathlib import Path

FILE = "clock.npz"


def write_readings(readings: Readings, path: Path) -> None:
    """Write the readings: names of the streams, how many each has, and all seconds."""
    import numpy as np

    streams = dict(sorted(readings.streams.items()))
    with atomic_write(path, "wb") as file:
        np.savez_compressed(
            file,
            names=np.array(list(streams), np.str_),
            counts=np.array([len(each) for each in streams.values()], np.int64),
            seconds=np.array([second for each in streams.values() for second in each], float),
            cores=np.int64(readings.cores),
        )


def read_readings(path: Path) -> Readings:
    """Return the readings of a file.

    Raises
    ------
    InputError
        If it is missing or damaged.
    """
    import numpy as np

    try:
        with np.load(path, allow_pickle=False) as held:
            names, counts = held["names"].tolist(), held["counts"]
            ends = np.cumsum(counts)[:-1]
            parts = np.split(held["seconds"], ends) if names else []
            cores = int(held["cores"])
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise InputError(f"{path}: no readings of a clock ({error})") from error
    streams = {name: part.tolist() for name, part in zip(names, parts, strict=True)}
    return Readings(streams, cores)
