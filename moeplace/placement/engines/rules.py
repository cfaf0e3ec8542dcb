"""A rule of an engine, and the checks that many engines make of a table of slots."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from moeplace.placement.formats.context import ExportContext

Wrong = str | None  # what breaks a rule and where; None where it holds


@dataclass(frozen=True)
class Rule:
    """One thing that an engine demands.

    Attributes
    ----------
    name, demands
        Short name, and what it is.
    source
        Where the engine says so: file and function, or pull request.
    severity
        ``refuses``: it stops or falls back to its own map; ``misreads``: it goes on with another
        map; ``wastes``: it works, with slots that bring nothing.
    """

    name: str
    demands: str
    source: str
    severity: Literal["refuses", "misreads", "wastes"] = "refuses"


@dataclass(frozen=True)
class Finding:
    """What became of a rule.

    Attributes
    ----------
    rule
        The rule.
    wrong
        What breaks it and where; None where it holds.
    reached
        False where an earlier rule had to hold first, or a fact was not given.
    """

    rule: Rule
    wrong: str | None = None
    reached: bool = True

    @property
    def breaks(self) -> bool:
        """Whether the engine would not serve this map."""
        return self.wrong is not None and self.rule.severity != "wastes"


class EngineRules(Protocol):
    """What the module of an engine offers."""

    RULES: Sequence[Rule]

    def outcomes(self, path: Path, context: ExportContext) -> Iterator[tuple[str, Wrong]]:
        """Yield rules by name, in order, with what breaks them; stop where no more can be told."""


def ending(path: Path, suffixes: Sequence[str]) -> Wrong:
    """Return what is wrong with the ending of a name."""
    if path.name.endswith(tuple(suffixes)):
        return None
    return f"{path.name} does not end in {' or '.join(suffixes)}"


def keys(found: Any, required: Iterable[str], optional: Iterable[str] | None = ()) -> Wrong:
    """Return what is wrong with the keys of an object; `optional` None allows any other."""
    if not isinstance(found, dict):
        return f"the file holds {type(found).__name__}, not an object with keys"
    needed = list(required)
    for key in needed:
        if key not in found:
            return f"key {key!r} is missing"
    if optional is None:
        return None
    more = [key for key in found if key not in {*needed, *optional}]
    return f"key {more[0]!r} is not known to the engine" if more else None


def rectangle(rows: Any, names: Sequence[str]) -> Wrong:
    """Return what keeps rows from being a table of integers."""
    if not isinstance(rows, list) or not rows:
        return "there are no rows"
    for row, name in zip(rows, names, strict=True):
        if not isinstance(row, list) or not row:
            return f"{name} is not a list of experts"
        bad = [value for value in row if type(value) is not int]
        if bad:
            return f"{name} holds {bad[0]!r}, not an integer"
        if len(row) != len(rows[0]):
            return f"{name} has {len(row)} slots, {names[0]} has {len(rows[0])}"
    return None


def row_names(count: int, word: str = "row") -> list[str]:
    """Return ``row 0``, ``row 1``, ..."""
    return [f"{word} {number}" for number in range(count)]


def table_outcomes(
    table: NDArray[Any], names: Sequence[str], context: ExportContext, *, ranks: int | None
) -> Iterator[tuple[str, Wrong]]:
    """Yield the rules ``ids``, ``coverage``, ``equal-slots`` and ``no-duplicates`` of a table.

    The number of experts is the model's, else the largest id and one. The last two need ranks.
    """
    experts = context.num_experts if context.known else int(table.max(initial=0)) + 1
    wrong = np.argwhere((table < 0) | (table >= experts))
    if wrong.size:
        row, slot = wrong[0]
        yield "ids", f"{names[row]}, slot {slot}: {table[row, slot]} is not in 0..{experts - 1}"
        return
    yield "ids", None
    yield "coverage", uncovered(table, names, experts)
    if ranks is None:
        return
    slots = table.shape[1]
    if slots % ranks:
        yield "equal-slots", f"{slots} slots a layer cannot be shared equally by {ranks} ranks"
        return
    yield "equal-slots", None
    yield "no-duplicates", doubled(table, names, ranks)


def uncovered(table: NDArray[Any], names: Sequence[str], experts: int) -> Wrong:
    """Return the first expert that has no slot."""
    for row, name in zip(table, names, strict=True):
        missing = np.setdiff1d(np.arange(experts), row)
        if missing.size:
            more = f" (and {missing.size - 1} more)" if missing.size > 1 else ""
            return f"{name}: expert {missing[0]} has no slot{more}"
    return None


def doubled(table: NDArray[Any], names: Sequence[str], ranks: int) -> Wrong:
    """Return the first expert that lies twice on a rank, and how many such slots there are."""
    held = np.sort(table.reshape(table.shape[0], ranks, -1), axis=2)
    twice = np.argwhere(held[:, :, 1:] == held[:, :, :-1])
    if not twice.size:
        return None
    row, rank, place = twice[0]
    return (
        f"{names[row]}: expert {held[row, rank, place]} lies twice on rank {rank}; "
        f"{len(twice)} such slots in all"
    )
