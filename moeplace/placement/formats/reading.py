"""Bytes to plain values: every failure becomes an InputError that names the file."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from moeplace.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

_MAX_DEPTH = 20


def read_bytes(path: str | Path) -> bytes:
    """Return the content of a file that is not empty.

    Raises
    ------
    InputError
        If the file cannot be read or is empty.
    """
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from error
    if not data:
        raise InputError(f"{path}: the file is empty")
    return data


def read_text(path: str | Path) -> str:
    """Return the text of a UTF-8 file.

    Raises
    ------
    InputError
        If the file cannot be read, is empty or is not UTF-8.
    """
    try:
        return read_bytes(path).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not a text file (byte {error.start} is not UTF-8)") from error


def parse_json(text: str, where: str | Path) -> Any:
    """Parse JSON; a key given twice and NaN are errors, where Python would accept them.

    Raises
    ------
    InputError
        If the text is not JSON, with line and column.
    """

    def pairs(items: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(items)
        if len(found) < len(items):
            names = [name for name, _ in items]
            twice = next(name for name in names if names.count(name) > 1)
            raise InputError(f"{where}: key {twice!r} is given twice")
        return found

    def constant(name: str) -> Any:
        raise InputError(f"{where}: {name} is not a JSON number")

    try:
        return json.loads(text, object_pairs_hook=pairs, parse_constant=constant)
    except json.JSONDecodeError as error:
        raise InputError(
            f"{where}: not valid JSON at line {error.lineno}, column {error.colno} "
            f"({error.msg}); is the file complete?"
        ) from error
    except (RecursionError, ValueError) as error:
        raise InputError(f"{where}: not usable JSON ({error})") from error


def parse_yaml(text: str, where: str | Path) -> Any:
    """Parse YAML safely; a key given twice is an error, where PyYAML keeps the last.

    Raises
    ------
    InputError
        If the text is not YAML, with line and column.
    """
    import yaml

    loader: type = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

    class StrictLoader(loader):  # type: ignore[misc]
        def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
            found: dict[Any, Any] = super().construct_mapping(node, deep)
            if len(found) < len(node.value):
                seen = set()
                for mark, _ in node.value:
                    key = self.construct_object(mark, deep=True)
                    if key in seen:
                        line = mark.start_mark.line + 1
                        raise InputError(f"{where}: key {key!r} is given twice (line {line})")
                    seen.add(key)
            return found

    try:
        depth = 0
        for event in yaml.parse(text, Loader=loader):
            depth += isinstance(event, yaml.CollectionStartEvent)
            depth -= isinstance(event, yaml.CollectionEndEvent)
            if depth > _MAX_DEPTH:  # libyaml's loader recurses until the process dies
                raise InputError(f"{where}: more than {_MAX_DEPTH} levels of nesting")
        return yaml.load(text, Loader=StrictLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        place = f" at line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise InputError(
            f"{where}: not valid YAML{place} ({error.problem}); is the file complete?"
        ) from error
    except (yaml.YAMLError, RecursionError, ValueError, AttributeError) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"{where}: not usable YAML ({reason})") from error


def read_npz(path: str | Path) -> dict[str, NDArray[Any]]:
    """Return all arrays of an npz file; pickled objects are refused.

    Raises
    ------
    InputError
        If the file cannot be read, is not a complete npz file, or holds pickled objects.
    """
    data = read_bytes(path)
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except Exception as error:  # the zip, header and tokenizer code raise many kinds
        raise InputError(f"{path}: not a complete npz file ({_first_line(error)})") from error


def read_npy(path: str | Path) -> NDArray[Any]:
    """Return the array of an npy file; pickled objects are refused.

    Raises
    ------
    InputError
        If the file cannot be read, is not a complete npy file, or holds pickled objects.
    """
    data = read_bytes(path)
    try:
        array = np.load(io.BytesIO(data), allow_pickle=False)
    except Exception as error:  # header and tokenizer code raise many kinds
        raise InputError(f"{path}: not a complete npy file ({_first_line(error)})") from error
    if not isinstance(array, np.ndarray):
        array.close()
        raise InputError(f"{path}: an npz archive where a single npy array is expected")
    return array


def _first_line(error: BaseException) -> str:
    return str(error).split("\n", 1)[0] or type(error).__name__
