"""Zip archives of others: opened with a bound on what they unpack to, errors with an offset."""

from __future__ import annotations

import struct
import zipfile
from contextlib import contextmanager
from typing import TYPE_CHECKING

from moeplace.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# What an archive may unpack to: deflate reaches 1000:1 only on content without information.
ALWAYS_FINE_BYTES = 1 << 30
LARGEST_RATIO = 100
# What `zipfile` raises on damaged archives beside `BadZipFile`.
READ_ERRORS = (
    OSError,
    NotImplementedError,
    RuntimeError,
    EOFError,
    OverflowError,
    UnicodeDecodeError,
    struct.error,
)


def member_names(path: Path) -> list[str] | None:
    """Return what a zip archive says it holds, None if it is none or cannot be read."""
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.namelist()
    except (zipfile.BadZipFile, ValueError, *READ_ERRORS):
        return None


@contextmanager
def open_archive(path: Path) -> Iterator[zipfile.ZipFile]:
    """Open a zip archive whose declared content is of a sane size.

    `zipfile` never returns more than the declared size of a member, so the bound holds for hostile
    archives too.

    Parameters
    ----------
    path
        The file.

    Raises
    ------
    InputError
        If it is missing, cut, corrupt (with the offset, where one is known), or a decompression
        bomb.
    """
    try:
        size = path.stat().st_size
        with zipfile.ZipFile(path) as archive:
            _check_bounds(path, archive, size)
            yield archive
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file") from error
    except zipfile.BadZipFile as error:
        raise InputError(f"{path}: {_where(path)} ({_line(error)})") from error
    except READ_ERRORS as error:
        raise InputError(f"{path}: not a readable archive ({_line(error)})") from error


def check_bounds(path: Path) -> None:
    """Refuse a zip archive that would unpack to an insane size.

    Raises
    ------
    InputError
        As `open_archive` does.
    """
    with open_archive(path):
        pass


def _check_bounds(path: Path, archive: zipfile.ZipFile, size: int) -> None:
    unpacked = sum(max(info.file_size, 0) for info in archive.infolist())
    if unpacked > max(ALWAYS_FINE_BYTES, LARGEST_RATIO * size):
        raise InputError(
            f"{path}: its {size:,} bytes unpack to {unpacked:,}, more than {LARGEST_RATIO} times "
            "as much; this looks like a decompression bomb and is not read"
        )


def _where(path: Path) -> str:
    size = path.stat().st_size
    with path.open("rb") as file:
        start = file.read(2)
    if start != b"PK":
        return "no zip archive: byte 0 is not the start of one"
    return f"cut or corrupt: no directory of a zip archive before the end at byte {size:,}"


def _line(error: BaseException) -> str:
    text = str(error).strip().splitlines()
    return text[0] if text else type(error).__name__
