"""The importers by name; a module is loaded when its importer is used."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from moeplace.errors import InputError, UsageError
from moeplace.plugins import load_plugins
from moeplace.traces.importers.options import ImportOptions, Unit

if TYPE_CHECKING:
    from collections.abc import Sequence

    from moeplace.traces.trace import RoutingTrace
    from moeplace.traces.workload import Workload


@dataclass(frozen=True)
class Importer:
    """A file format that can be read.

    Its module has `recognizes(path) -> bool`, which is cheap, reads little and never raises on
    what a file holds, and `read(path, *, num_experts=None, name=None)`. A format that may be larger
    than memory also has `units(path, options)`, which lists pieces, and `read_unit(unit, options,
    bad)` or `read_units(units, options, bad)`, which read them; `bad`, if given, takes the messages
    of records that are left out.

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
    takes_options
        Whether `read` also takes `options`, an `ImportOptions`.
    """

    name: str
    summary: str
    gives: Literal["trace", "workload"]
    module: str
    takes_options: bool = False

    def recognizes(self, path: Path) -> bool:
        """Tell whether the file or folder looks like this format."""
        return bool(import_module(self.module).recognizes(path))

    def read(
        self,
        path: Path,
        *,
        num_experts: int | None = None,
        name: str | None = None,
        options: ImportOptions | None = None,
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
        options
            Facts that some formats lack: `top_k`, column names.

        Raises
        ------
        InputError
            If it cannot be read; the message names the file.
        """
        reader: Any = import_module(self.module).read
        more = {"options": options} if self.takes_options else {}
        result: RoutingTrace | Workload = reader(path, num_experts=num_experts, name=name, **more)
        return result

    def units(self, path: Path, options: ImportOptions) -> list[Unit]:
        """Return the pieces that can be read by themselves, in order; at least one.

        Parameters
        ----------
        path
            A file or folder of this format.
        options
            Facts that some formats lack.

        Raises
        ------
        InputError
            If nothing is there to read.
        """
        module = import_module(self.module)
        if hasattr(module, "units"):
            found: list[Unit] = module.units(path, options)
            if not found:
                raise InputError(f"{path}: nothing to read in it")
            return found
        files = sorted(path.rglob("*")) if path.is_dir() else [path]
        return [Unit(str(path), size=sum(f.stat().st_size for f in files if f.is_file()))]

    def read_units(
        self, units: Sequence[Unit], options: ImportOptions, bad: list[str] | None = None
    ) -> RoutingTrace:
        """Read some pieces of a trace as one.

        Parameters
        ----------
        units
            Pieces of `units`.
        options
            Facts that some formats lack.
        bad
            Takes the messages of what is left out; without it the first one is raised.

        Raises
        ------
        InputError
            If something cannot be read, or with `bad` nothing can.
        """
        from moeplace.traces.sources import join_traces

        module = import_module(self.module)
        if hasattr(module, "read_units"):
            whole: RoutingTrace = module.read_units(units, options, bad)
            return whole
        traces: list[RoutingTrace] = []
        for unit in units:
            try:
                if hasattr(module, "read_unit"):
                    traces.append(module.read_unit(unit, options, bad))
                else:
                    read: Any = self.read
                    traces.append(
                        read(Path(unit.path), num_experts=options.num_experts, options=options)
                    )
            except InputError as error:
                if bad is None:
                    raise
                bad.append(str(error))
        if not traces:
            raise InputError(f"{units[0].path}: nothing in it could be read")
        if len(traces) == 1:
            return traces[0]
        try:
            return join_traces(traces)
        except InputError as error:
            raise InputError(f"{units[0].path}: {error}") from error


_HERE = "moeplace.traces.importers"
_ALL = (
    Importer("npz", "NumPy arrays of a trace, or of loads", "trace", f"{_HERE}.native_npz"),
    Importer("parquet", "Parquet file or folder of a trace", "trace", f"{_HERE}.native_parquet"),
    Importer(
        "sglang-counts",
        'JSON {"logical_count": [layers][experts]} of SGLang\'s recorder',
        "workload",
        f"{_HERE}.sglang_counts",
    ),
    Importer(
        "chaos",
        "JSON file or tree of the 'Patterns behind Chaos' data set (arXiv 2510.05497)",
        "trace",
        f"{_HERE}.chaos",
    ),
    Importer(
        "sglang-recorder",
        "SGLang's recorder, .pt of the modes stat, stat_approx and per_pass; a folder of ranks",
        "workload",
        f"{_HERE}.sglang_recorder",
    ),
    Importer(
        "sglang-tokens",
        "SGLang's recorder, .pt of the mode per_token; a folder of ranks",
        "trace",
        f"{_HERE}.sglang_tokens",
    ),
    Importer(
        "vllm-stats",
        "vLLM load statistics, JSON Lines of eplb_load_stats (open pull request 41141)",
        "workload",
        f"{_HERE}.vllm_stats",
    ),
    Importer(
        "responses",
        "answers of vLLM or SGLang with routed_experts, JSON or JSON Lines",
        "trace",
        f"{_HERE}.responses",
        takes_options=True,
    ),
    Importer(
        "tensorrt-llm",
        "TensorRT-LLM expert statistics, folder of meta_info.json and rank<r>.safetensors",
        "workload",
        f"{_HERE}.tensorrt_llm",
    ),
    Importer(
        "vllm-ascend",
        "vllm-ascend expert_load_view.pt, a tensor [layers, experts]",
        "workload",
        f"{_HERE}.vllm_ascend",
    ),
    Importer(
        "omniplacement",
        "OmniPlacement activation dump: folder of .txt by rank, log, or CSV of ep_<j>",
        "workload",
        f"{_HERE}.omniplacement",
    ),
    Importer(
        "lmdeploy",
        "LMDeploy expert statistics, JSON table [hidden layers][experts]",
        "workload",
        f"{_HERE}.lmdeploy",
    ),
    Importer(
        "router-logits",
        "router logits of Hugging Face models, safetensors or npz; a folder of them",
        "trace",
        f"{_HERE}.router_logits",
        takes_options=True,
    ),
    Importer(
        "table",
        "Parquet, CSV or JSON Lines with a column mapping",
        "trace",
        f"{_HERE}.tables",
        takes_options=True,
    ),
)


_REGISTERED: dict[str, Importer] = {}


def register_importer(
    name: str,
    module: str,
    *,
    gives: Literal["trace", "workload"] = "trace",
    summary: str = "",
    takes_options: bool = False,
) -> None:
    """Make a file format of your own known by a name; its content is asked for first.

    Parameters
    ----------
    name
        What ``format=`` calls it. Registering a name again replaces your importer.
    module
        Name of a module with ``recognizes(path) -> bool`` and
        ``read(path, *, num_experts=None, name=None)``, see :class:`Importer`. It is imported when
        a file is read.
    gives
        Whether ``read`` returns a `RoutingTrace` or a `Workload`.
    summary
        One line for people.
    takes_options
        Whether ``read`` also takes ``options``, an `ImportOptions`.

    Raises
    ------
    UsageError
        If the name belongs to the package.
    """
    if name in {importer.name for importer in _ALL}:
        raise UsageError(
            f"trace format {name!r} comes with moeplace; register yours under another name"
        )
    _REGISTERED[name] = Importer(name, summary, gives, module, takes_options)


def unregister_importer(name: str) -> None:
    """Forget a registered importer.

    Raises
    ------
    UsageError
        If no such importer was registered.
    """
    if name not in _REGISTERED:
        raise UsageError(f"trace format {name!r} was not registered")
    del _REGISTERED[name]


def importers() -> dict[str, Importer]:
    """Return the importers by name; those registered from outside come first."""
    load_plugins()
    return _REGISTERED | {importer.name: importer for importer in _ALL}


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
    known = importers()
    for importer in known.values():
        if importer.recognizes(path):
            return importer.name
    names = ", ".join(known)
    raise InputError(f"{path}: cannot tell what this holds; name its format ({names})")
