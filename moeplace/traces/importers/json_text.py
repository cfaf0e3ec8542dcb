"""Reading JSON that others wrote: every failure becomes one line that names the file."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from moeplace.errors import InputError
from moeplace.traces.npz import first_line

if TYPE_CHECKING:
    from pathlib import Path

HEAD_BYTES = 4096


def read_json(path: Path) -> Any:
    """Return the content of a JSON file.

    Parameters
    ----------
    path
        The file, UTF-8.

    Raises
    ------
    InputError
        If it is missing, truncated, not JSON, not UTF-8 or nested beyond reason.
    """
    try:
        return json.loads(path.read_bytes())
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file") from error
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: not valid JSON ({first_line(error)})") from error


def head(path: Path) -> str:
    """Return the first characters of a file without white space; empty if it is no text."""
    try:
        with path.open("rb") as file:
            raw = file.read(HEAD_BYTES)
    except OSError:
        return ""
    if b"\0" in raw:
        return ""
    return "".join(raw.decode("utf-8", errors="ignore").lstrip("\ufeff").split())
