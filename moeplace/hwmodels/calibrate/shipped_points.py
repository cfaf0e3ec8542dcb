"""Measured points in one compact form: what ships with the package, and how it is written."""

from __future__ import annotations

import csv
import gzip
import io
from functools import lru_cache
from importlib import resources
from typing import TYPE_CHECKING

from moeplace.files import atomic_write
from moeplace.hwmodels.calibrate.csv_rows import read_rows
from moeplace.hwmodels.calibrate.points import CommPoint, ExpertPoint

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from moeplace.hwmodels.calibrate.published import PublishedRow

DATA = resources.files("moeplace.hwmodels.calibrate") / "data"
COMM = (
    ("source", str),
    ("system", str),
    ("family", str),
    ("op", str),
    ("ranks", int),
    ("node_size", int),
    ("tokens", int),
    ("hidden", int),
    ("top_k", int),
    ("experts", int),
    ("dtype", str),
    ("sms", int),
    ("payload", float),
    ("measured_us", float),
)
EXPERT = (
    ("source", str),
    ("system", str),
    ("phase", str),
    ("ranks", int),
    ("tokens", int),
    ("skew", float),
    ("hidden", int),
    ("inter", int),
    ("top_k", int),
    ("experts", int),
    ("dtype", str),
    ("measured_us", float),
)


def write_points(path: str | Path, points: Sequence[CommPoint] | Sequence[ExpertPoint]) -> None:
    """Write points as gzipped CSV, the same bytes for the same points."""
    names = [name for name, _ in (COMM if isinstance(points[0], CommPoint) else EXPERT)]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(names)
    for point in points:
        writer.writerow([_text(getattr(point, name)) for name in names])
    with atomic_write(path, "wb") as file:
        file.write(gzip.compress(text.getvalue().encode(), mtime=0))


def _text(value: object) -> str:
    return f"{value:.5g}" if isinstance(value, float) else str(value)


@lru_cache(maxsize=1)
def shipped_comm() -> tuple[CommPoint, ...]:
    """Return the measured all-to-all times that ship."""
    return tuple(CommPoint(**fields) for fields in _read("comm.csv.gz", COMM))  # type: ignore[arg-type]


@lru_cache(maxsize=1)
def shipped_expert() -> tuple[ExpertPoint, ...]:
    """Return the measured times of expert kernels that ship."""
    return tuple(ExpertPoint(**fields) for fields in _read("expert.csv.gz", EXPERT))  # type: ignore[arg-type]


@lru_cache(maxsize=1)
def shipped_published() -> tuple[PublishedRow, ...]:
    """Return the published figures that ship."""
    from moeplace.hwmodels.calibrate.published import read_published

    with resources.as_file(DATA / "published.csv.gz") as path:
        return tuple(read_published(path))


def _read(name: str, schema: Iterable[tuple[str, type]]) -> Iterable[dict[str, str | int | float]]:
    with resources.as_file(DATA / name) as path:
        rows = read_rows(path)
    schema = tuple(schema)
    return [{key: kind(row.fields[key]) for key, kind in schema} for row in rows]
