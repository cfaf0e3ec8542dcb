"""What an import would take: a few of its own files are imported, the rest is arithmetic."""

from __future__ import annotations

import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from moeplace.errors import InputError, UsageError
from moeplace.traces.importers.options import ImportOptions
from moeplace.traces.importers.registry import find_importer
from moeplace.traces.importing import PART_BYTES, import_units

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from moeplace.traces.importers.options import Unit
    from moeplace.traces.importers.registry import Importer

SAMPLE_BYTES = PART_BYTES  # what is read to know the rate: as much as one part


@dataclass(frozen=True)
class ImportEstimate:
    """What an import would take on paper.

    Attributes
    ----------
    source_bytes
        Size of the recordings.
    sample_bytes, sample_s
        What was imported to know it, and the processor time that took.
    parquet_bytes
        Size of the trace that is written.
    machines, jobs
        Machines, and workers of each.
    efficiency
        Share of a lone worker's rate that a worker keeps beside the others.
    storage_bytes_per_s
        What the storage was said to read, or None for no limit.
    wall_s
        Time from first to last part.
    read_bytes_per_s, write_bytes_per_s
        What the storage must give to all machines together to keep the workers busy.
    parts
        Pieces of work; the last round may leave workers idle, which `wall_s` counts.
    """

    source_bytes: int
    sample_bytes: int
    sample_s: float
    parquet_bytes: int
    machines: int
    jobs: int
    efficiency: float
    storage_bytes_per_s: float | None
    wall_s: float
    read_bytes_per_s: float
    write_bytes_per_s: float
    parts: int

    @property
    def bytes_per_cpu_s(self) -> float:
        """Source bytes that one worker imports in a second of processor time."""
        return self.sample_bytes / self.sample_s

    @property
    def cpu_s(self) -> float:
        """Processor time of all workers together."""
        return self.source_bytes / self.bytes_per_cpu_s / self.efficiency

    def to_dict(self) -> dict[str, Any]:
        """Return everything as JSON values."""
        more = {"bytes_per_cpu_s": self.bytes_per_cpu_s, "cpu_s": self.cpu_s}
        return {"schema": "moeplace.import-estimate/1", **asdict(self), **more}


def estimate_import(
    sources: Sequence[str | Path],
    *,
    format: str | None = None,
    options: ImportOptions | None = None,
    machines: int = 1,
    jobs: int = 1,
    efficiency: float = 0.85,
    size_bytes: int | None = None,
    storage_bytes_per_s: float | None = None,
    part_bytes: int = PART_BYTES,
    clock: Callable[[], float] = time.process_time,
) -> ImportEstimate:
    """Import a few files into a temporary folder, and work out the whole from that.

    The sample is spread over the sources and read twice, because the first time compiles. Workers
    are independent, so the time is rounds of parts, ⌈parts / (machines · jobs)⌉ · part time, or
    what the storage needs where that is more. The start of the workers is not counted.

    Parameters
    ----------
    sources, format, options, part_bytes
        As for `import_trace`.
    machines, jobs
        Machines, and workers on each of them.
    efficiency
        Share of a lone worker's rate that each of several keeps (memory bandwidth, file system).
    size_bytes
        Size to estimate for, where the sources are a sample of something larger.
    storage_bytes_per_s
        What the storage reads for all machines together; by default no limit.
    clock
        Processor time of this process, in seconds.

    Raises
    ------
    UsageError
        If a number is out of range.
    InputError
        If the sources cannot be read, or hold loads.
    """
    if min(machines, jobs, 1 if size_bytes is None else size_bytes) < 1 or not 0 < efficiency <= 1:
        raise UsageError("machines, jobs and size must be at least 1, 0 < efficiency <= 1")
    if storage_bytes_per_s is not None and storage_bytes_per_s <= 0:
        raise UsageError("the storage must read something")
    given = options or ImportOptions()
    found: list[tuple[Importer, list[Unit]]] = []
    for source in sources:
        importer = find_importer(Path(source), format)
        if importer.gives != "trace":
            raise InputError(f"{source}: {importer.name} files hold loads, which are small")
        found.append((importer, importer.units(Path(source), given)))
    total = sum(unit.size for _, units in found for unit in units)
    sampled = [(importer, _spread(units, total)) for importer, units in found]
    read = sum(unit.size for _, units in sampled for unit in units)
    with tempfile.TemporaryDirectory(prefix="moeplace-") as folder:
        for _ in range(2):
            started = clock()
            written = sum(
                import_units(number, importer, units, given, Path(folder))
                for number, (importer, units) in enumerate(sampled)
            )
            seconds = max(clock() - started, 1e-9)
    size = size_bytes or total
    parts = max(-(-size // part_bytes), 1)
    part_s = size / parts / (read / seconds) / efficiency
    workers = machines * jobs
    wall_s = -(-parts // workers) * part_s
    if storage_bytes_per_s is not None:
        wall_s = max(wall_s, size / storage_bytes_per_s)
    busy = min(workers, parts)
    rate = busy * read / seconds * efficiency
    return ImportEstimate(
        source_bytes=size,
        sample_bytes=read,
        sample_s=seconds,
        parquet_bytes=round(size * written / max(read, 1)),
        machines=machines,
        jobs=jobs,
        efficiency=efficiency,
        storage_bytes_per_s=storage_bytes_per_s,
        wall_s=wall_s,
        read_bytes_per_s=rate,
        write_bytes_per_s=rate * written / max(read, 1),
        parts=parts,
    )


def _spread(units: Sequence[Unit], total: int) -> tuple[Unit, ...]:
    """Return units at even distances, about `SAMPLE_BYTES` of all `total` bytes, at least one."""
    share = min(SAMPLE_BYTES / max(total, 1), 1.0)
    wanted = max(round(share * len(units)), 1)
    return tuple(units[i * len(units) // wanted] for i in range(wanted))
