"""Reading and writing traces and workloads, whatever the format."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from moeplace.errors import InputError, UsageError
from moeplace.traces.importers.registry import find_importer
from moeplace.traces.npz import first_line, read_npz_workload, write_npz
from moeplace.traces.shipped import shipped_trace, shipped_workload, shipped_workloads
from moeplace.traces.stored import StoredTrace, open_trace
from moeplace.traces.trace import PHASES, RoutingTrace
from moeplace.traces.workload import Workload

if TYPE_CHECKING:
    from moeplace.traces.importers.options import ImportOptions
    from moeplace.traces.importers.registry import Importer


def load_trace(
    path: str | Path,
    format: str | None = None,
    *,
    num_experts: int | None = None,
    name: str | None = None,
    options: ImportOptions | None = None,
) -> RoutingTrace:
    """Read a routing trace.

    Parameters
    ----------
    path
        A file, a folder, or the name of a trace that comes with the package.
    format
        Name of an importer; by default the content decides.
    num_experts
        Logical experts per layer, for formats that do not say it.
    name
        What to call the trace.
    options
        Facts that some formats lack, see `ImportOptions`.

    Raises
    ------
    InputError
        If it is missing, truncated or corrupt, holds ids out of range, or holds loads only.
    """
    if format is None and _is_shipped(path):
        return shipped_trace(str(path))
    importer = _importer(path, format)
    result = importer.read(Path(path), num_experts=num_experts, name=name, options=options)
    if isinstance(result, Workload):
        raise InputError(
            f"{path}: {importer.name} files hold loads, not tokens; use them as a workload"
        )
    return result


def load_workload(
    path: str | Path,
    format: str | None = None,
    *,
    phase: str | None = None,
    num_experts: int | None = None,
    name: str | None = None,
    options: ImportOptions | None = None,
) -> Workload:
    """Read a workload: loads, or a trace that is reduced to one.

    Parameters
    ----------
    path
        A file, a folder, or a name of `shipped_workloads`.
    format
        Name of an importer; by default the content decides.
    phase
        Take the tokens of one phase; loads that do not say their phase get it.
    num_experts
        Logical experts per layer, for formats that do not say it.
    name
        What to call the workload.
    options
        Facts that some formats lack, see `ImportOptions`.

    Raises
    ------
    UsageError
        If the phase does not exist.
    InputError
        If it cannot be read or is invalid, or was recorded in another phase.
    """
    if phase is not None and phase not in PHASES:
        raise UsageError(f"phase {phase!r} is unknown; use {' or '.join(PHASES)}")
    if format is None and _is_shipped(path):
        workload = shipped_workload(str(path))
    else:
        importer = _importer(path, format)
        if importer.name == "npz":
            workload = read_npz_workload(
                Path(path), phase=phase, num_experts=num_experts, name=name
            )
        else:
            result: RoutingTrace | StoredTrace | Workload
            if importer.name == "parquet":
                result = _opened(Path(path), name)
            else:
                result = importer.read(
                    Path(path), num_experts=num_experts, name=name, options=options
                )
            if not isinstance(result, Workload):
                result = Workload.from_trace(result, phase=phase)
            workload = result
    if phase is not None and workload.phase not in (None, phase):
        raise InputError(f"{path} was recorded in {workload.phase}, not {phase}")
    changes = {"phase": phase or workload.phase, "name": name or workload.name}
    return workload.replace(**changes)


def save_trace(trace: RoutingTrace, path: str | Path) -> None:
    """Write a trace; the name decides the format.

    Parameters
    ----------
    trace
        What to write.
    path
        `X.npz`, `X.parquet`, or a name without suffix for a folder of Parquet and `meta.json`.

    Raises
    ------
    UsageError
        If the suffix is another one.
    InputError
        If it cannot be written there.
    """
    target = Path(path)
    if target.suffix == ".npz":
        write_npz(trace, target)
        return
    if target.suffix not in ("", ".parquet"):
        raise UsageError(f"{path}: write traces as X.npz, X.parquet or a folder without suffix")
    from moeplace.traces.parquet import write_parquet_file, write_parquet_folder

    if target.suffix:
        write_parquet_file(trace, target)
    else:
        write_parquet_folder(trace, target)


def _opened(path: Path, name: str | None) -> StoredTrace:
    try:
        return open_trace(path, name=name)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(f"{path}: malformed trace ({first_line(error)})") from error


def _is_shipped(path: str | Path) -> bool:
    return str(path) in shipped_workloads() and not Path(path).exists()


def _importer(path: str | Path, format_name: str | None) -> Importer:
    try:
        return find_importer(Path(path), format_name)
    except InputError as error:
        if Path(path).exists():
            raise
        raise InputError(f"{error}; shipped: {', '.join(shipped_workloads())}") from error
