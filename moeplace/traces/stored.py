"""A trace on disk, opened without reading it: chunks of tokens in bounded memory."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from moeplace.errors import InputError, UsageError
from moeplace.traces.arrays import id_dtype
from moeplace.traces.npz import first_line
from moeplace.traces.parquet import KEY, META, SCHEMA, trace_of_table
from moeplace.traces.trace import PHASES, RoutingTrace

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray

CHUNK_IDS = 1 << 23  # expert ids in a chunk


@dataclass(frozen=True)
class Part:
    """One Parquet file of a stored trace.

    Attributes
    ----------
    file
        Where it is.
    tokens
        Rows in it.
    request_offset
        What to add to its request numbers, so that requests of parts stay apart.
    domains
        Names for its domain codes.
    """

    file: Path
    tokens: int
    request_offset: int
    domains: tuple[str, ...]


@dataclass(frozen=True)
class StoredTrace:
    """A Parquet trace that has not been read; has the attributes of `RoutingTrace` but columns.

    Attributes
    ----------
    path
        File or folder.
    num_experts, top_k, num_layers, layer_ids, domains, name, meta
        As in `RoutingTrace`.
    parts
        The files, in order.
    columns
        Which of `request`, `position`, `phase`, `domain` and `weights` are recorded.
    """

    path: Path
    num_experts: int
    top_k: int
    num_layers: int
    layer_ids: tuple[int, ...] | None
    domains: tuple[str, ...]
    name: str
    parts: tuple[Part, ...]
    columns: frozenset[str]
    meta: Mapping[str, Any] = field(default_factory=dict)

    @property
    def num_tokens(self) -> int:
        """Tokens recorded."""
        return sum(part.tokens for part in self.parts)

    def chunks(
        self, phase: str | None = None, max_tokens: int | None = None
    ) -> Iterator[RoutingTrace]:
        """Yield the tokens in recorded order, some at a time; request numbers go on.

        Parameters
        ----------
        phase
            Tokens of one phase only.
        max_tokens
            Most tokens of a chunk; by default about eight million expert ids.

        Raises
        ------
        UsageError
            If there is no such phase.
        InputError
            If a file is missing or corrupt, or does not record phases though one is asked for.
        """
        check_phase(self, phase)
        size = max_tokens or max(CHUNK_IDS // (self.num_layers * self.top_k), 1)
        for part in self.parts:
            for chunk in self._part_chunks(part, size):
                picked = chunk if phase is None else _of_phase(chunk, phase)
                if picked.num_tokens:
                    yield picked

    def request_numbers(self) -> NDArray[np.int32]:
        """Return the request numbers, ascending; none where they are not recorded.

        Raises
        ------
        InputError
            If a file is missing or corrupt.
        """
        import pyarrow as pa
        import pyarrow.parquet as pq

        found = np.zeros(0, dtype=np.int32)
        for part in self.parts if "request" in self.columns else ():
            try:
                column = pq.read_table(part.file, columns=["request"], partitioning=None)[0]
            except (pa.ArrowException, OSError, ValueError) as error:
                text = f"{part.file}: not readable Parquet ({first_line(error)})"
                raise InputError(text) from error
            numbers = np.unique(column.to_numpy()).astype(np.int32)
            found = np.union1d(found, numbers + np.int32(part.request_offset))
        return found

    def load(self) -> RoutingTrace:
        """Return all of it in memory."""
        chunks = list(self.chunks()) or [self._nothing()]
        return concatenated(chunks).replace(name=self.name, meta=dict(self.meta))

    def _nothing(self) -> RoutingTrace:
        """Return the trace without a token."""
        import pyarrow.parquet as pq

        table = pq.read_table(self.parts[0].file, partitioning=None).slice(0, 0)
        meta = metadata_of(self.parts[0].file, table.schema.metadata)
        return trace_of_table(table, meta, self.num_experts, self.name)

    def _part_chunks(self, part: Part, size: int) -> Iterator[RoutingTrace]:
        import pyarrow as pa
        import pyarrow.parquet as pq

        codes = np.array([self.domains.index(name) for name in part.domains], dtype=np.int16)
        try:
            with pq.ParquetFile(part.file, page_checksum_verification=True) as file:
                meta = metadata_of(part.file, file.schema_arrow.metadata)
                for batch in file.iter_batches(batch_size=size, use_threads=False):
                    chunk = trace_of_table(
                        pa.Table.from_batches([batch]), meta, self.num_experts, self.name
                    )
                    changes: dict[str, Any] = {"num_experts": self.num_experts}
                    if chunk.domain is not None:
                        changes["domain"] = codes[chunk.domain]
                        changes["domains"] = self.domains
                    if chunk.request is not None and part.request_offset:
                        changes["request"] = chunk.request + np.int32(part.request_offset)
                    if chunk.missing >= 0 and chunk.missing < self.num_experts:
                        raise InputError("the mark of absent ids is the number of an expert")
                    yield replace(chunk, **changes)
        except FileNotFoundError as error:
            raise InputError(f"{part.file}: no such file") from error
        except (pa.ArrowException, OSError, ValueError, MemoryError, KeyError) as error:
            raise InputError(f"{part.file}: not readable Parquet ({first_line(error)})") from error
        except InputError as error:
            raise InputError(f"{part.file}: {error}") from error


Trace = RoutingTrace | StoredTrace


def concatenated(chunks: Sequence[RoutingTrace]) -> RoutingTrace:
    """Put chunks of one trace back together: same layers and domains, requests as they are.

    Parameters
    ----------
    chunks
        One or more, as `trace_chunks` yields them.
    """
    first = chunks[0]
    dtype = id_dtype(first.num_experts, with_missing=any(c.missing >= 0 for c in chunks))
    absent = np.iinfo(dtype).max
    parts = []
    for chunk in chunks:
        ids = chunk.expert_ids.astype(dtype)
        if chunk.missing >= 0:
            ids[~chunk.valid] = absent
        parts.append(ids)
    columns: dict[str, Any] = {}
    for column in ("request", "position", "phase", "domain", "weights"):
        values = [getattr(chunk, column) for chunk in chunks]
        columns[column] = None if any(v is None for v in values) else np.concatenate(values)
    return replace(first, expert_ids=np.concatenate(parts), **columns)


def open_trace(path: str | Path, *, name: str | None = None) -> StoredTrace:
    """Open a Parquet trace, a file or a folder, without reading it.

    Parameters
    ----------
    path
        What `save_trace` or `import_trace` wrote.
    name
        What to call it.

    Raises
    ------
    InputError
        If it is no such trace, or a part of it is missing.
    """
    path = Path(path)
    import pyarrow as pa
    import pyarrow.parquet as pq

    files = sorted(path.glob("*.parquet")) if path.is_dir() else [path]
    if not files:
        raise InputError(f"{path}: the folder holds no .parquet file")
    try:
        heads = [(file, pq.read_metadata(file)) for file in files]
        schema = pq.read_schema(files[0])
        folder_meta = path / META
        if path.is_dir() and folder_meta.is_file():
            meta = _checked(path, json.loads(folder_meta.read_text(encoding="utf-8")))
        else:
            meta = metadata_of(path, schema.metadata)
        metas = [metadata_of(file, head.metadata) for file, head in heads]
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file") from error
    except (pa.ArrowException, OSError, ValueError) as error:
        raise InputError(f"{path}: not a readable Parquet trace ({first_line(error)})") from error
    listed = {entry["file"]: entry for entry in meta.get("parts", ())}
    absent = set(listed) - {file.name for file in files}
    if absent:
        raise InputError(f"{path}: part {min(absent)} is missing")
    parts = tuple(
        Part(
            file,
            head.num_rows,
            int(listed.get(file.name, {}).get("request_offset", 0)),
            tuple(str(d) for d in own.get("domains", ())),
        )
        for (file, head), own in zip(heads, metas, strict=True)
    )
    layers = meta["layer_ids"]
    recorded = set(schema.names)
    known = {c for c in ("request", "position", "phase", "domain") if c in recorded}
    if any(column.startswith("weights_") for column in recorded):
        known.add("weights")
    return StoredTrace(
        path=path,
        num_experts=int(meta["num_experts"]),
        top_k=int(meta["top_k"]),
        num_layers=int(meta["num_layers"]),
        layer_ids=None if layers is None else tuple(int(i) for i in layers),
        domains=tuple(str(d) for d in meta.get("domains", ())),
        name=name or str(meta.get("name", path.stem)),
        parts=parts,
        columns=frozenset(known),
        meta=dict(meta.get("meta") or {}),
    )


def trace_chunks(
    trace: Trace, phase: str | None = None, max_tokens: int | None = None
) -> Iterator[RoutingTrace]:
    """Yield chunks of a trace, in memory or stored; see `StoredTrace.chunks`."""
    if isinstance(trace, StoredTrace):
        yield from trace.chunks(phase, max_tokens)
        return
    check_phase(trace, phase)
    size = max_tokens or max(CHUNK_IDS // (trace.num_layers * trace.top_k), 1)
    for start in range(0, trace.num_tokens, size):
        chunk = trace.select(slice(start, start + size))
        picked = chunk if phase is None else _of_phase(chunk, phase)
        if picked.num_tokens:
            yield picked


def records(trace: Trace, column: str) -> bool:
    """Tell whether a trace has one of the optional columns."""
    if isinstance(trace, StoredTrace):
        return column in trace.columns
    return getattr(trace, column) is not None


def check_phase(trace: Trace, phase: str | None) -> None:
    """Refuse a phase that does not exist or is not recorded.

    Raises
    ------
    UsageError
        If there is no such phase.
    InputError
        If the trace does not record phases.
    """
    if phase is None:
        return
    if phase not in PHASES:
        raise UsageError(f"phase {phase!r} is unknown; use {' or '.join(PHASES)}")
    if not records(trace, "phase"):
        raise InputError(f"trace {trace.name!r} does not record phases; leave the phase out")


def metadata_of(path: Path, metadata: Mapping[bytes, bytes] | None) -> dict[str, Any]:
    """Return the trace metadata in the schema of a Parquet file.

    Raises
    ------
    InputError
        If there are none.
    """
    text = (metadata or {}).get(KEY)
    if not text:
        raise InputError(f"{path}: no trace metadata in it; this is not a routing trace")
    return _checked(path, json.loads(text))


def _checked(path: Path, meta: Any) -> dict[str, Any]:
    if not isinstance(meta, dict) or meta.get("schema") != SCHEMA:
        raise InputError(f"{path}: metadata of another kind, schema {SCHEMA!r} expected")
    return meta


def _of_phase(chunk: RoutingTrace, phase: str) -> RoutingTrace:
    return chunk.select(np.asarray(chunk.phase) == PHASES.index(phase))
