"""Recordings of any size become a Parquet folder, piece by piece, resumable and in parallel.

The pieces (`Unit`) of all sources are dealt to parts by their bytes alone, so the result does not
depend on who does the work. A part is written whole or not at all into `OUT.partial/`; what is
there after a kill is kept by the next run of the same import. The folder gets its name at the end.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import threading
import time
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from moeplace.errors import InputError
from moeplace.files import atomic_write
from moeplace.traces.importers.options import ImportOptions, Unit
from moeplace.traces.importers.registry import Importer, find_importer
from moeplace.traces.parquet import META, SCHEMA, write_parquet_file

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from moeplace.parallel import Workers
    from moeplace.traces.trace import RoutingTrace

PLAN = "plan.json"
MANIFEST = "manifest.json"
MANIFEST_SCHEMA = "moeplace.manifest/1"
PART_BYTES = 64 << 20
POLL_S = 0.25
MESSAGES_KEPT = 1000


@dataclass(frozen=True)
class ImportProgress:
    """How far an import is: bytes of source done and in all, parts, seconds of this run."""

    done_bytes: int
    total_bytes: int
    resumed_bytes: int
    parts: int
    total_parts: int
    elapsed_s: float

    @property
    def bytes_per_s(self) -> float:
        """Source bytes a second in this run."""
        return (self.done_bytes - self.resumed_bytes) / max(self.elapsed_s, 1e-9)

    @property
    def left_s(self) -> float | None:
        """Seconds left at this rate, or None before the first part."""
        rate = self.bytes_per_s
        return (self.total_bytes - self.done_bytes) / rate if rate > 0 else None


@dataclass(frozen=True)
class ImportReport:
    """What an import did.

    Attributes
    ----------
    path
        The folder.
    tokens, requests, parts
        What is in it; requests are None where they are not recorded.
    source_bytes
        Bytes read.
    resumed_parts
        Parts that an earlier run had finished.
    skipped
        Messages of what `skip_bad` left out.
    warnings
        What the importers noticed.
    """

    path: Path
    tokens: int
    requests: int | None
    parts: int
    source_bytes: int
    resumed_parts: int
    skipped: tuple[str, ...]
    warnings: tuple[str, ...]


@dataclass(frozen=True)
class _Task:
    """One part: what a worker needs to know."""

    number: int
    importer: Importer  # itself: a worker process may not have registered it
    units: tuple[Unit, ...]
    options: ImportOptions
    folder: str

    @property
    def size(self) -> int:
        return sum(unit.size for unit in self.units)


def import_trace(
    sources: Sequence[str | Path],
    output: str | Path,
    *,
    format: str | None = None,
    options: ImportOptions | None = None,
    workers: Workers | None = None,
    name: str | None = None,
    part_bytes: int = PART_BYTES,
    on_progress: Callable[[ImportProgress], None] | None = None,
) -> ImportReport:
    """Write recordings of tokens as a Parquet folder, without ever holding the trace.

    Parameters
    ----------
    sources
        Files or folders, taken in this order; requests of each are numbered on.
    output
        The folder to write; a trace that is there is replaced at the end.
    format
        Name of an importer; by default the content of each source decides.
    options
        Facts that the files lack, and whether to skip what is broken.
    workers
        Who does the work; by default one process per core. Processes on other machines need the
        same paths.
    name
        What to call the trace; the name of the folder by default.
    part_bytes
        Source bytes of a part, which decides how much memory a worker needs.
    on_progress
        Called a few times a second.

    Returns
    -------
    ImportReport
        What is in the folder, and what was left out.

    Raises
    ------
    InputError
        If a source cannot be read (nothing is left behind then), or the folder cannot be written.
    """
    from moeplace.parallel import Workers

    target = Path(output)
    if target.exists() and not (target / META).is_file():
        raise InputError(f"{target} exists and is no trace; choose another name")
    given = options or ImportOptions()
    partial = target.with_name(target.name + ".partial")
    tasks = _tasks(sources, format, given, partial, part_bytes)
    _prepare(partial, tasks, given)
    todo = [task for task in tasks if not _done_file(partial, task.number).is_file()]
    try:
        with _watched(partial, tasks, len(tasks) - len(todo), on_progress):
            crew = workers or Workers(engine="loky")
            if len(todo) == 1 or (crew.jobs == 1 and crew.engine == "loky"):
                for task in todo:
                    _import_part(task)
            elif todo:
                with crew.started() as pool:
                    pool.map(_import_part, todo)
        return _finish(partial, target, tasks, sources, given, name, len(tasks) - len(todo))
    except InputError:
        shutil.rmtree(partial, ignore_errors=True)
        raise


def _tasks(
    sources: Sequence[str | Path],
    format: str | None,
    options: ImportOptions,
    partial: Path,
    part_bytes: int,
) -> list[_Task]:
    tasks: list[_Task] = []
    for source in sources:
        path = Path(source)
        importer = find_importer(path, format)
        if importer.gives != "trace":
            raise InputError(f"{path}: {importer.name} files hold loads, not tokens")
        group: list[Unit] = []
        size = 0
        for unit in importer.units(path, options):
            group.append(unit)
            size += unit.size
            if size >= part_bytes:
                tasks.append(_Task(len(tasks), importer, tuple(group), options, str(partial)))
                group, size = [], 0
        if group:
            tasks.append(_Task(len(tasks), importer, tuple(group), options, str(partial)))
    if not tasks:
        raise InputError("no source to import")
    return tasks


def _prepare(partial: Path, tasks: Sequence[_Task], options: ImportOptions) -> None:
    """Make the folder, or keep the one of an earlier run of the same import."""
    digest = hashlib.sha256(json.dumps(asdict(options), sort_keys=True).encode())
    for task in tasks:
        digest.update(f"{task.number} {task.importer.name}\n".encode())
        for unit in task.units:
            digest.update(f"{unit} {_changed_ns(unit.path)}\n".encode())
    plan = {"fingerprint": digest.hexdigest(), "parts": len(tasks)}
    try:
        if partial.is_dir():
            found = partial / PLAN
            if found.is_file() and found.read_text(encoding="utf-8") == json.dumps(plan):
                for left in partial.glob(".*"):
                    left.unlink()  # a file that a kill left half written
                return
            shutil.rmtree(partial)
        partial.mkdir()
    except OSError as error:
        raise InputError(f"cannot write {partial}: {error.strerror or error}") from error
    with atomic_write(partial / PLAN) as file:
        file.write(json.dumps(plan))


def _changed_ns(path: str) -> int:
    try:
        return Path(path).stat().st_mtime_ns
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from error


def _import_part(task: _Task) -> None:
    """Read the units of a part, write it, then write what is in it."""
    bad: list[str] | None = [] if task.options.skip_bad else None
    trace: RoutingTrace | None = None
    try:
        trace = task.importer.read_units(task.units, task.options, bad)
    except InputError:
        if bad is None or len(bad) == 0:
            raise
    folder = Path(task.folder)
    known: dict[str, Any] = {"bytes": task.size, "skipped": bad or [], "tokens": 0}
    if trace is not None and trace.num_tokens:
        trace = bind_layers(trace, task.options)
        file = folder / _part_name(task.number)
        meta = dict(trace.meta)
        warnings = [str(text) for text in meta.pop("warnings", ())]
        write_parquet_file(trace.replace(meta={}, name="part"), file)
        known |= {
            "file": file.name,
            "tokens": trace.num_tokens,
            "requests": None if trace.request is None else int(trace.request.max()) + 1,
            "num_experts": trace.num_experts,
            "top_k": trace.top_k,
            "layer_ids": None if trace.layer_ids is None else list(trace.layer_ids),
            "num_layers": trace.num_layers,
            "domains": list(trace.domains),
            "warnings": warnings,
            "sha256": hashlib.sha256(file.read_bytes()).hexdigest(),
        }
    with atomic_write(_done_file(folder, task.number)) as done:
        done.write(json.dumps(known))


def import_units(
    number: int, importer: Importer, units: Sequence[Unit], options: ImportOptions, folder: Path
) -> int:
    """Write some pieces of a source as one part in a folder; return the bytes of its file.

    Parameters
    ----------
    number
        Number of the part.
    importer
        The format.
    units
        The pieces.
    options
        Facts that the files lack.
    folder
        Where the part goes.
    """
    _import_part(_Task(number, importer, tuple(units), options, str(folder)))
    file = folder / _part_name(number)
    return file.stat().st_size if file.is_file() else 0


def _part_name(number: int) -> str:
    return f"part-{number:05d}.parquet"


def bind_layers(trace: RoutingTrace, options: ImportOptions) -> RoutingTrace:
    """Put the layer ids of the model on a trace that has none; dense layers are left out."""
    moe = options.moe_layers
    if moe is None or trace.layer_ids is not None:
        return trace
    if trace.num_layers == len(moe):
        return replace(trace, layer_ids=moe)
    if options.num_layers != trace.num_layers:
        raise InputError(
            f"{trace.num_layers} layers are recorded; the model has {len(moe)} MoE layers of "
            f"{options.num_layers}: this is a trace of another model"
        )
    rows = list(moe)
    weights = None if trace.weights is None else trace.weights[:, rows]
    return replace(trace, expert_ids=trace.expert_ids[:, rows], weights=weights, layer_ids=moe)


def _done_file(folder: Path, number: int) -> Path:
    return folder / f"part-{number:05d}.json"


def _finish(
    partial: Path,
    target: Path,
    tasks: Sequence[_Task],
    sources: Sequence[str | Path],
    options: ImportOptions,
    name: str | None,
    resumed: int,
) -> ImportReport:
    done = [json.loads(_done_file(partial, task.number).read_text()) for task in tasks]
    parts = [entry for entry in done if entry["tokens"]]
    if not parts:
        raise InputError(f"{sources[0]}: nothing in it could be read")
    first = parts[0]
    for entry in parts[1:]:
        if any(entry[key] != first[key] for key in ("top_k", "layer_ids", "num_layers")):
            raise InputError(
                f"{entry['file']} has {entry['num_layers']} layers, top {entry['top_k']}; "
                f"{first['file']} has {first['num_layers']}, top {first['top_k']}: "
                "these are recordings of different models"
            )
    offset, listed = 0, []
    for entry in parts:
        listed.append({"file": entry["file"], "tokens": entry["tokens"], "request_offset": offset})
        offset += entry["requests"] or 0
    messages = [text for entry in done for text in entry["skipped"]]
    warnings = _merged_warnings(parts)
    experts = options.num_experts or max(entry["num_experts"] for entry in parts)
    known = all(entry["requests"] is not None for entry in parts)
    title = name or target.name
    meta = {
        "schema": SCHEMA,
        "name": title,
        "num_experts": experts,
        "top_k": first["top_k"],
        "num_layers": first["num_layers"],
        "layer_ids": first["layer_ids"],
        "domains": list(dict.fromkeys(d for entry in parts for d in entry["domains"])),
        "missing": None,
        "meta": {
            "source": ", ".join(str(source) for source in sources),
            "warnings": warnings,
            "skipped": len(messages),
        },
        "parts": listed,
    }
    manifest = {
        "schema": MANIFEST_SCHEMA,
        "sources": [str(source) for source in sources],
        "formats": list(dict.fromkeys(task.importer.name for task in tasks)),
        "source_bytes": sum(task.size for task in tasks),
        "tokens": sum(entry["tokens"] for entry in parts),
        "parts": [{key: entry[key] for key in ("file", "tokens", "sha256")} for entry in parts],
        "skipped": len(messages),
        "skipped_messages": messages[:MESSAGES_KEPT],
    }
    for file_name, content in ((META, meta), (MANIFEST, manifest)):
        with atomic_write(partial / file_name) as file:
            file.write(json.dumps(content, indent=1, ensure_ascii=False) + "\n")
    for task in tasks:
        _done_file(partial, task.number).unlink()
    (partial / PLAN).unlink()
    if target.exists():
        shutil.rmtree(target)
    partial.rename(target)
    return ImportReport(
        target,
        int(manifest["tokens"]),
        offset if known else None,
        len(parts),
        int(manifest["source_bytes"]),
        resumed,
        tuple(messages),
        tuple(warnings),
    )


def _merged_warnings(parts: Sequence[dict[str, Any]]) -> list[str]:
    """Return the warnings of the parts, one that several share with how many share it."""
    counts: dict[str, int] = {}
    for entry in parts:
        for text in entry["warnings"]:
            counts[text] = counts.get(text, 0) + 1
    return [
        text if n == len(parts) else f"{text} ({n} of {len(parts)} parts)"
        for text, n in counts.items()
    ]


@contextmanager
def _watched(
    partial: Path,
    tasks: Sequence[_Task],
    resumed: int,
    on_progress: Callable[[ImportProgress], None] | None,
) -> Iterator[None]:
    """Count finished parts in the folder, whoever writes them, and tell `on_progress`."""
    if on_progress is None:
        yield
        return
    total = sum(task.size for task in tasks)
    started = time.monotonic()

    def look() -> ImportProgress:
        done = [task for task in tasks if _done_file(partial, task.number).is_file()]
        size = sum(task.size for task in done)
        return ImportProgress(size, total, first, len(done), len(tasks), time.monotonic() - started)

    first = 0
    first = look().done_bytes
    ended = threading.Event()

    def watch() -> None:
        while not ended.wait(POLL_S):
            on_progress(look())

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield
        on_progress(look())
    finally:
        ended.set()
        thread.join()
    del resumed
