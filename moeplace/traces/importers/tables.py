"""Tables of others: Parquet, CSV or JSON Lines with a column mapping.

Wide: one row a token; `experts` holds [layers][top_k]. Long: one row a token and layer; `layer`
says which, `experts` holds [top_k], and rows of one token share `request` and `position` (or
`token`). A cell of CSV holds a list as JSON, or numbers with spaces or semicolons between.
"""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from moeplace.errors import InputError
from moeplace.traces.importers.json_text import head
from moeplace.traces.importers.options import ImportOptions, Unit
from moeplace.traces.importers.table_rows import COLUMNS, trace_of_columns
from moeplace.traces.importers.text_lines import line_units, parse_line, read_lines
from moeplace.traces.npz import first_line

if TYPE_CHECKING:
    from collections.abc import Mapping

    from moeplace.traces.trace import RoutingTrace

LARGEST_GROUP_BYTES = 4 << 30  # declared size of a row group of Parquet


def recognizes(path: Path) -> bool:
    """Tell whether it is a table with a column `experts`."""
    if not path.is_file():
        return False
    kind = _kind(path)
    if kind == "parquet":
        try:
            return "experts" in _parquet_columns(path)
        except InputError:
            return False
    if kind == "csv":
        return "experts" in _csv_header(path)
    start = head(path)
    return start.startswith("{") and '"experts":' in start and '"record_type"' not in start


def units(path: Path, options: ImportOptions) -> list[Unit]:
    """Return row groups of Parquet, byte ranges of wide JSON Lines; else the file as one."""
    kind = _kind(path)
    size = path.stat().st_size
    if kind == "jsonl" and not _is_long(path, options):
        return line_units(path)
    if kind == "parquet" and options.columns.get("layer", "layer") not in _parquet_columns(path):
        import pyarrow.parquet as pq

        groups = pq.ParquetFile(path).metadata.num_row_groups
        return [Unit(str(path), i, i + 1, size // max(groups, 1)) for i in range(groups)]
    return [Unit(str(path), size=size)]


def read(
    path: Path,
    *,
    num_experts: int | None = None,
    name: str | None = None,
    options: ImportOptions | None = None,
) -> RoutingTrace:
    """Read a table.

    Parameters
    ----------
    path
        The file.
    num_experts
        Logical experts per layer; by default the largest id seen + 1, with a warning.
    name
        What to call the trace.
    options
        `columns` says what our columns are called in the file.

    Raises
    ------
    InputError
        If it is broken or a column is missing; line or byte are named.
    """
    from dataclasses import replace

    given = replace(options or ImportOptions(), num_experts=num_experts)
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    return read_unit(Unit(str(path)), given).replace(name=name or path.stem)


def read_unit(unit: Unit, options: ImportOptions, bad: list[str] | None = None) -> RoutingTrace:
    """Read one unit of a table."""
    path = Path(unit.path)
    wanted = {ours: options.columns.get(ours, ours) for ours in COLUMNS}
    kind = _kind(path)
    if kind == "parquet":
        columns = _parquet(path, unit, wanted)
    elif kind == "csv":
        columns = _csv(path, wanted)
    else:
        columns = _lines(path, unit, wanted, bad)
    if "experts" not in columns:
        raise InputError(
            f"{path}: no column {wanted['experts']!r}; map the columns, for example "
            "--column experts=topk_ids"
        )
    return trace_of_columns(path, columns, options)


def _kind(path: Path) -> str:
    with path.open("rb") as file:
        start = file.read(4)
    if start == b"PAR1" or path.suffix == ".parquet":
        return "parquet"
    if path.suffix in (".csv", ".tsv"):
        return "csv"
    return "csv" if "," in (head_line(path) or "") and not start.startswith(b"{") else "jsonl"


def head_line(path: Path) -> str:
    """Return the first line of a text file, empty if it is none."""
    with path.open("rb") as file:
        line = file.readline(1 << 16)
    return "" if b"\0" in line else line.decode("utf-8", errors="ignore").strip("\ufeff\r\n")


def _csv_header(path: Path) -> list[str]:
    delimiter = "\t" if path.suffix == ".tsv" else ","
    return [name.strip() for name in head_line(path).split(delimiter)]


def _is_long(path: Path, options: ImportOptions) -> bool:
    try:
        first = json.loads(head_line(path))
    except ValueError:
        return True
    return isinstance(first, dict) and options.columns.get("layer", "layer") in first


def _parquet_columns(path: Path) -> list[str]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        schema = pq.read_schema(path)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise InputError(f"{path}: not readable Parquet ({first_line(error)})") from error
    # Parquet traces of this package carry their own metadata and are read by `parquet`.
    if b"moeplace" in (schema.metadata or {}):
        return []
    return list(schema.names)


def _parquet(path: Path, unit: Unit, wanted: Mapping[str, str]) -> dict[str, list[Any]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        file = pq.ParquetFile(path, page_checksum_verification=True)
        names = [name for name in wanted.values() if name in file.schema_arrow.names]
        stop = unit.stop if unit.stop is not None else file.metadata.num_row_groups
        groups = list(range(unit.start, stop))
        for group in groups:
            declared = file.metadata.row_group(group).total_byte_size
            if declared > LARGEST_GROUP_BYTES:
                raise InputError(f"{path}: row group {group} unpacks to {declared:,} bytes")
        table = file.read_row_groups(groups, columns=names)
        content = table.to_pydict()
    except (pa.ArrowException, OSError, ValueError, MemoryError) as error:
        raise InputError(f"{path}: not readable Parquet ({first_line(error)})") from error
    return {ours: content[theirs] for ours, theirs in wanted.items() if theirs in content}


def _csv(path: Path, wanted: Mapping[str, str]) -> dict[str, list[Any]]:
    raw = path.read_bytes()
    if not raw.endswith(b"\n"):
        raise InputError(f"{path}: byte {len(raw):,}: the last line has no end; cut?")
    header = _csv_header(path)
    delimiter = "\t" if path.suffix == ".tsv" else ","
    rows = csv.reader(raw.decode("utf-8-sig", errors="replace").splitlines(), delimiter=delimiter)
    columns: dict[str, list[Any]] = {
        ours: [] for ours, theirs in wanted.items() if theirs in header
    }
    places = {ours: header.index(wanted[ours]) for ours in columns}
    try:
        for number, row in enumerate(rows, 1):
            if number == 1 or not row:
                continue
            if len(row) != len(header):
                raise InputError(
                    f"{path}: line {number}: {len(row)} fields, {len(header)} expected"
                )
            for ours, place in places.items():
                columns[ours].append(row[place])
    except csv.Error as error:
        raise InputError(f"{path}: no CSV ({first_line(error)})") from error
    return columns


def _lines(
    path: Path, unit: Unit, wanted: Mapping[str, str], bad: list[str] | None
) -> dict[str, list[Any]]:
    columns: dict[str, list[Any]] = {}
    for count, (offset, line) in enumerate(read_lines(path, unit.start, unit.stop)):
        try:
            row = parse_line(path, offset, line)
            if not isinstance(row, dict):
                raise InputError(f"{path}: byte {offset:,}: a JSON object a line expected")
            if not count:
                columns = {ours: [] for ours, theirs in wanted.items() if theirs in row}
            missing = [wanted[ours] for ours in columns if wanted[ours] not in row]
            if missing:
                raise InputError(f"{path}: byte {offset:,}: no key {missing[0]!r}")
        except InputError as error:
            if bad is None:
                raise
            bad.append(str(error))
            continue
        for ours, values in columns.items():
            values.append(row[wanted[ours]])
    return columns
