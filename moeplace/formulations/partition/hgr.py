"""Hypergraphs in the text format of hMETIS (its manual, version 1.5.3, section 3.2)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from moeplace.errors import InputError
from moeplace.formulations.partition.nets import Nets

if TYPE_CHECKING:
    from collections.abc import Iterator

FORMATS = {"": (False, False), "0": (False, False), "1": (True, False), "10": (False, True),
           "11": (True, True)}  # fmt: skip


def read_hgr(path: str | Path) -> Nets:
    """Read a ``.hgr`` file: nets of any length over vertices that are numbered from 1.

    The first line holds the number of nets, of vertices and optionally a format: 1 for weighted
    nets, 10 for weighted vertices, 11 for both. A line per net follows, its weight first if there
    is one, then a line per vertex weight. Lines that start with ``%`` are comments.

    Parameters
    ----------
    path
        The file.

    Returns
    -------
    Nets with ids from 0 and their weights, 1 where the file has none.

    Raises
    ------
    InputError
        If the file is missing or malformed, with the line; also for vertex weights other than 1,
        because a rank's slots hold an expert each.
    """
    file = Path(path)
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{file}: cannot be read ({error})") from None
    lines = _lines(file, text)
    number, words = next(lines, (1, []))
    if len(words) not in (2, 3) or min(words[:2]) < 1:
        raise InputError(f"{file}, line {number}: numbers of nets and vertices above 0 expected")
    num_nets, num_vertices = words[:2]
    kind = str(words[2]) if len(words) == 3 else ""
    if kind not in FORMATS:
        raise InputError(f"{file}, line {number}: format {kind} unknown; 1, 10 or 11 expected")
    weighted, sized = FORMATS[kind]
    weight, length, expert = np.ones(num_nets), np.zeros(num_nets, np.int64), []
    for net in range(num_nets):
        number, words = next(lines, (number + 1, []))
        if not words:
            raise InputError(f"{file}, line {number}: the file ends after {net} of {num_nets} nets")
        if weighted:
            weight[net], words = words[0], words[1:]
            if weight[net] < 0:
                raise InputError(f"{file}, line {number}: net weight {weight[net]:g} below 0")
        if not words:
            raise InputError(f"{file}, line {number}: a net without vertices")
        if min(words) < 1 or max(words) > num_vertices:
            wrong = min(words) if min(words) < 1 else max(words)
            raise InputError(f"{file}, line {number}: vertex {wrong}; 1 to {num_vertices} exist")
        length[net] = len(words)
        expert += words
    for vertex in range(num_vertices if sized else 0):
        number, words = next(lines, (number + 1, []))
        if len(words) != 1:
            raise InputError(f"{file}, line {number}: the weight of vertex {vertex + 1} expected")
        if words[0] != 1:
            raise InputError(
                f"{file}, line {number}: vertex weight {words[0]}; only 1 is supported: a slot "
                "holds one expert"
            )
    number, words = next(lines, (0, []))
    if words:
        raise InputError(f"{file}, line {number}: nothing expected after {num_nets} nets")
    start = np.zeros(num_nets + 1, np.int64)
    np.cumsum(length, out=start[1:])
    return Nets(start, np.array(expert, np.int64) - 1, weight, num_vertices)


def _lines(file: Path, text: str) -> Iterator[tuple[int, list[int]]]:
    """Yield line number and integers of every line that is neither empty nor a comment."""
    for number, line in enumerate(text.splitlines(), 1):
        if line.strip() and not line.lstrip().startswith("%"):
            try:
                yield number, [int(word) for word in line.split()]
            except ValueError:
                raise InputError(f"{file}, line {number}: integers expected") from None
