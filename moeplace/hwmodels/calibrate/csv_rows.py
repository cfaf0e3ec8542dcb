"""Rows of a CSV file, each field checked, each error with its line."""

from __future__ import annotations

import csv
import gzip
import math
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, cast

from moeplace.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


@dataclass(frozen=True)
class Row:
    """One row.

    Attributes
    ----------
    where
        File and line, the beginning of every error.
    fields
        Text by column.
    """

    where: str
    fields: Mapping[str, str]

    def text(self, column: str, default: str | None = None) -> str:
        """Return a field, or the default where it is absent or empty."""
        value = (self.fields.get(column) or "").strip()
        if value:
            return value
        if default is None:
            raise InputError(f"{self.where}: column {column} is empty")
        return default

    def number(self, column: str, default: float | None = None) -> float:
        """Return a finite number."""
        text = self.text(column, None if default is None else repr(default))
        try:
            value = float(text)
        except ValueError:
            raise InputError(f"{self.where}: {column} is {text!r}, not a number") from None
        if not math.isfinite(value):
            raise InputError(f"{self.where}: {column} is {text}; it must be finite")
        return value

    def positive(self, column: str) -> float:
        """Return a number above 0."""
        value = self.number(column)
        if value <= 0:
            raise InputError(f"{self.where}: {column} is {value:g}; it must be above 0")
        return value

    def whole(self, column: str, default: int | None = None, least: int = 1) -> int:
        """Return a whole number of at least `least`."""
        value = self.number(column, default)
        if value != int(value) or value < least:
            raise InputError(
                f"{self.where}: {column} is {value:g}; it must be a whole number >= {least}"
            )
        return int(value)


def read_rows(path: str | Path, required: Sequence[str] = ()) -> list[Row]:
    """Read a CSV file (also gzipped) with a header.

    Raises
    ------
    InputError
        If it cannot be read, has no rows, lacks a column, or a row has other fields than the
        header; with the line.
    """
    path = Path(path)
    rows = []
    try:
        with _open(path) as file:
            reader = csv.reader(file)
            header = [name.strip() for name in next(reader, [])]
            if len(set(header)) != len(header):
                raise InputError(f"{path}: the header names a column twice")
            for column in required:
                if column not in header:
                    raise InputError(f"{path}: no column {column!r}; it has {', '.join(header)}")
            for fields in reader:
                if not fields:
                    continue
                where = f"{path} line {reader.line_num}"
                if len(fields) != len(header):
                    raise InputError(f"{where}: {len(fields)} fields, the header has {len(header)}")
                rows.append(Row(where, dict(zip(header, fields, strict=True))))
    except (OSError, UnicodeDecodeError, csv.Error, EOFError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"cannot read {path}: {reason}") from error
    if not rows:
        raise InputError(f"{path}: no rows below the header")
    return rows


def _open(path: Path) -> IO[str]:
    if path.suffix == ".gz":
        return cast("IO[str]", gzip.open(path, "rt", encoding="utf-8", newline=""))
    return path.open(encoding="utf-8", newline="")


def columns(rows: Sequence[Row]) -> frozenset[str]:
    """Return the names of the columns."""
    return frozenset(rows[0].fields)
