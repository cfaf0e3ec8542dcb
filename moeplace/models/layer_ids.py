"""The compact notation for layer ids in YAML files: ``"3-60"``, ``"1-47/2"``, ``"1,3,6-8"``."""

from __future__ import annotations

import re

from moeplace.errors import InputError

_RANGE = re.compile(r"(\d+)(?:-(\d+)(?:/(\d+))?)?")


def parse_layer_ids(text: str) -> tuple[int, ...]:
    """Read layer ids from the compact notation.

    Parameters
    ----------
    text
        Ranges separated by commas; a range is ``first``, ``first-last`` or ``first-last/step``,
        both ends included. Empty text is no layer.

    Returns
    -------
    Layer ids in ascending order, each once.

    Raises
    ------
    InputError
        If a piece is not a range, or runs backwards.
    """
    layers: set[int] = set()
    for piece in text.split(",") if text.strip() else []:
        match = _RANGE.fullmatch(piece.strip())
        if match is None:
            raise InputError(
                f"layer ids {text!r}: cannot read {piece.strip()!r}; "
                'write ranges such as "3-60", "1-47/2" or "1,3,6-8"'
            )
        first = int(match[1])
        last = first if match[2] is None else int(match[2])
        step = 1 if match[3] is None else int(match[3])
        if last < first or step < 1:
            raise InputError(f"layer ids {text!r}: the range {piece.strip()!r} is empty")
        layers.update(range(first, last + 1, step))
    return tuple(sorted(layers))


def format_layer_ids(layers: tuple[int, ...]) -> str:
    """Write ascending layer ids in the compact notation; the inverse of `parse_layer_ids`."""
    pieces: list[str] = []
    start = 0
    while start < len(layers):
        stop = start + 1
        step = layers[stop] - layers[start] if stop < len(layers) else 1
        while stop < len(layers) and layers[stop] - layers[stop - 1] == step:
            stop += 1
        if stop - start < 3 and step > 1:
            stop = start + 1
        first, last = layers[start], layers[stop - 1]
        tail = f"-{last}" if last > first else ""
        pieces.append(f"{first}{tail}" + (f"/{step}" if last > first and step > 1 else ""))
        start = stop
    return ",".join(pieces)
