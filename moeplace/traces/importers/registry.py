"""The importers by name; a module is loaded when its importer is used."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from moeplace.errors import InputError, UsageError

if TYPE_CHECKING:
    from moeplace.traces.trace import RoutingTrace
    from moeplace.traces.workload import Workload


@dataclass(frozen=True)
class Importer:
    """A file format that can be read.

    Its module has `recognizes(path) -> bool`, which is cheap, reads little and never raises on
    what a file holds, and `read(path, *, num_experts=None, name=None)`.

    Attributes
    ----------
    name
        What `format=` calls it.
    summary
        One line for people.
    gives
        Whether `read` returns a `RoutingTrace` or a `Workload`.
    module
        Where the functions are.
    """

    name: str
    summary: str
    gives: Literal["trace", "workload"]
    module: str

    def recognizes(self, path: Path) -> bool:
        """Tell whether the file or folder looks like this format."""
        return bool(import_module(self.module).recognizes(path))

    def read(
        self, path: Path, *, num_experts: int | None = None, name: str | None = None
    ) -> RoutingTrace | Workload:
        """Read the file or folder.

        Parameters
        ----------
        path
            What to read.
        num_experts
            Logical experts per layer, where the format does not say it.
        name
            What to call the result.

        Raises
        ------
        InputError
            If it cannot be read; the message names the file.
        """
        reader: Any = import_module(self.module).read
        result: RoutingTrace | Workload = reader(path, num_experts=num_experts, name=name)
        return result


_HERE = "moeplace.traces.importers"
_ALL = (
    Importer("npz", "NumPy arrays of a trace, or of loads", "trace", f"{_HERE}.native_npz"),
    Importer("parquet", "Parquet file or folder of a trace", "trace", f"{_HERE}.native_parquet"),
    Importer(
        "sglang-counts",
        'JSON {"logical_count": [layers][experts]} of SGLang\'s recorder, or the bare table',
        "workload",
        f"{_HERE}.sglang_counts",
    ),
    Importer(
        "chaos",
        "JSON file or tree of the 'Patterns behind Chaos' data set (arXiv 2510.05497)",
        "trace",
        f"{_HERE}.chaos",
    ),
)


def importers() -> dict[str, Importer]:
    """Return the importers by name."""
    return {importer.name: importer for importer in _ALL}


def find_importer(path: Path, format_name: str | None = None) -> Importer:
    """Return the importer for a file, by its content unless a format is named.

    Parameters
    ----------
    path
        A file or folder.
    format_name
        Name of the importer, to skip the detection.

    Raises
    ------
    UsageError
        If there is no such format.
    InputError
        If the path does not exist, or no importer knows it.
    """
    known = importers()
    if format_name is not None and format_name not in known:
        raise UsageError(f"unknown trace format {format_name!r}; known: {', '.join(known)}")
    if not path.exists():
        raise InputError(f"{path}: no such file or folder")
    return known[format_name or detect_format(path)]


def detect_format(path: str | Path) -> str:
    """Return the name of the importer that recognizes a file or folder.

    Parameters
    ----------
    path
        A file or folder.

    Raises
    ------
    InputError
        If none does.
    """
    path = Path(path)
    for importer in _ALL:
        if importer.recognizes(path):
            return importer.name
    names = ", ".join(importer.name for importer in _ALL)
    raise InputError(f"{path}: cannot tell what this holds; name its format ({names})")
