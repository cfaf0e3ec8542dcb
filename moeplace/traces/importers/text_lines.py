"""JSON Lines: read in byte ranges, so that a file of any size is many small pieces."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from moeplace.errors import InputError
from moeplace.traces.importers.options import Unit
from moeplace.traces.npz import first_line

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

RANGE_BYTES = 32 << 20
LONGEST_LINE = 1 << 30


def line_units(path: Path, range_bytes: int = RANGE_BYTES) -> list[Unit]:
    """Cut a text file into byte ranges; a line belongs to the range it starts in."""
    size = path.stat().st_size
    starts = range(0, max(size, 1), range_bytes)
    return [
        Unit(str(path), start, min(start + range_bytes, size), min(range_bytes, size - start))
        for start in starts
    ]


def read_lines(path: Path, start: int = 0, stop: int | None = None) -> Iterator[tuple[int, bytes]]:
    """Yield offset and content of every line that starts in a byte range; blank ones left out.

    Parameters
    ----------
    path
        The file.
    start, stop
        The range; by default the whole file.

    Raises
    ------
    InputError
        If it cannot be read, or a line is longer than `LONGEST_LINE`.
    """
    try:
        with path.open("rb") as file:
            if start:
                file.seek(start - 1)
                file.readline()  # the rest of the line before, or its line end alone
            while stop is None or file.tell() < stop:
                offset = file.tell()
                line = file.readline(LONGEST_LINE)
                if not line:
                    return
                if len(line) == LONGEST_LINE:
                    raise InputError(f"{path}: byte {offset:,}: a line of more than 1 GiB")
                if line.strip():
                    yield offset, line
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file") from error
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from error


def parse_line(path: Path, offset: int, line: bytes) -> Any:
    """Return the JSON value of a line.

    Raises
    ------
    InputError
        If it is not JSON; file and byte are named.
    """
    try:
        return json.loads(line)
    except (ValueError, RecursionError) as error:
        place = offset + getattr(error, "pos", 0)
        raise InputError(f"{path}: byte {place:,}: not JSON ({first_line(error)})") from error
