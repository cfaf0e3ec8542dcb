"""TOML files of options, with the line on which a key stands."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from moeplace.errors import InputError

if TYPE_CHECKING:
    from pathlib import Path

HEADER = re.compile(r"^\s*\[([^\[\]]+)\]\s*(#.*)?$")
KEY = re.compile(r"""^\s*([\w."'\- ]+?)\s*=""")


@dataclass(frozen=True)
class TomlFile:
    """A file that was read.

    Attributes
    ----------
    path
        Its name as it is shown.
    content
        What TOML says.
    lines
        By (section..., key) the line on which it is set, from 1; keys of inline tables are not in.
    """

    path: str
    content: dict[str, Any]
    lines: dict[tuple[str, ...], int]

    def place(self, *keys: str) -> str:
        """Return the file and, where it is known, the line of a key or section."""
        line = self.lines.get(keys)
        return self.path if line is None else f"{self.path}:{line}"


def read_toml(path: Path) -> TomlFile:
    """Read a TOML file.

    Raises
    ------
    InputError
        If it cannot be read or is no TOML; the message has line and column.
    """
    import tomllib

    try:
        text = path.read_bytes().decode("utf-8")
    except OSError as error:
        raise InputError(f"{path}: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8 text ({error})") from error
    try:
        content = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise InputError(f"{path}: not TOML: {error}") from error
    return TomlFile(str(path), content, _lines(text))


def _lines(text: str) -> dict[tuple[str, ...], int]:
    """Return where sections and keys stand; good enough for messages, TOML itself is not asked."""
    found: dict[tuple[str, ...], int] = {}
    section: tuple[str, ...] = ()
    for number, line in enumerate(text.splitlines(), 1):
        if (header := HEADER.match(line)) is not None:
            section = _parts(header[1])
            found.setdefault(section, number)
        elif (key := KEY.match(line)) is not None:
            found.setdefault((*section, *_parts(key[1])), number)
    return found


def _parts(dotted: str) -> tuple[str, ...]:
    return tuple(part.strip().strip("\"'") for part in dotted.split("."))
