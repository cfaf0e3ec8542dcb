"""From traces of tokens to workloads; traces on disk are read once, in bounded memory."""

from __future__ import annotations

import tempfile
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from moeplace.errors import InputError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from moeplace.cli.options import ProblemOptions
    from moeplace.models import ModelSpec
    from moeplace.traces import RoutingTrace, StoredTrace, Workload

    Note = Callable[[str], None] | None
    Phased = Workload | dict[str, Workload]

DEFAULT_FRACTION = 0.5
LARGE_BYTES = 256 << 20  # of other formats, above which a trace is imported rather than held


@contextmanager
def opened_traces(
    names: Sequence[str], model: ModelSpec, note: Note
) -> Iterator[StoredTrace | None]:
    """Open traces that need not be in memory as one; give None where they are better read.

    Parquet is opened as it is. Large recordings of another format become Parquet in a temporary
    folder, which lasts as long as the block.

    Parameters
    ----------
    names
        Files and folders as the user named them.
    model
        Says what the files do not.
    note
        Takes what is being done.
    """
    from moeplace.traces.importers.options import ImportOptions
    from moeplace.traces.importing import import_trace
    from moeplace.traces.sources import join_stored
    from moeplace.traces.stored import open_trace

    options = ImportOptions(
        num_experts=model.num_experts,
        top_k=int(model.top_k),
        num_layers=model.num_layers,
        moe_layers=tuple(model.moe_layers),
    )
    kinds = [_kind(Path(name), options) for name in names]
    if "loads" in kinds or not {"stored", "large"} & set(kinds):
        yield None
        return
    with ExitStack() as stack:
        traces = []
        for name, kind in zip(names, kinds, strict=True):
            path = Path(name)
            if kind != "stored":
                scratch = stack.enter_context(tempfile.TemporaryDirectory(prefix="moeplace-"))
                if note is not None:
                    note(f"{name} is imported first; `moeplace trace import` keeps the result")
                path = Path(scratch) / "trace"
                import_trace([name], path, options=options, name=Path(name).stem)
            traces.append(open_trace(path))
        yield join_stored(traces)


def split_trace(
    trace: RoutingTrace | StoredTrace, options: ProblemOptions, model: ModelSpec, note: Note
) -> tuple[Phased, dict[str, Any]]:
    """Return the workload of each phase to fit on, and what is held out as `make_problem` takes it.

    Parameters
    ----------
    trace
        All tokens.
    options
        Say what to hold out, the phase, the execution and the seed.
    model
        Whose trace a file to hold out must be.
    note
        Takes what was sampled.
    """
    from moeplace.traces.holdout import split_workload

    choice, anchored = options.holdout, options.execution == "stay"
    fraction = DEFAULT_FRACTION if choice is None else None
    if choice not in (None, "none"):
        fraction = _fraction(str(choice))
    fit, held, by = split_workload(trace, fraction, options.seed, anchored=anchored)
    if note is not None:
        _tell_samples(fit, note)
    if choice == "none":
        return _named(fit), {}
    share = fraction
    if choice is not None and fraction is None:
        with opened_traces([choice], model, note) as stored:
            other = _read_held(choice, model) if stored is None else stored
            held, _, _ = split_workload(other, None, anchored=anchored)
            by, share = "file", other.num_tokens / max(1, other.num_tokens + trace.num_tokens)
    reported = _of_phase(_named(held), options.phase or _first_phase(fit))
    return _named(fit), {"holdout": reported, "holdout_by": by, "holdout_fraction": share}


def _kind(path: Path, options: Any) -> str:
    """Tell whether a source is stored, a large or small recording of tokens, or loads."""
    from moeplace.traces.importers.registry import find_importer

    if not path.exists():
        return "small"  # shipped, or missing: the reader says so
    try:
        importer = find_importer(path, None)
        if importer.name == "parquet":
            return "stored"
        if importer.gives != "trace":
            return "loads"
        size = sum(unit.size for unit in importer.units(path, options))
    except InputError:
        return "small"
    return "large" if size >= LARGE_BYTES and importer.name != "npz" else "small"


def _tell_samples(workloads: dict[str | None, Workload], note: Callable[[str], None]) -> None:
    told = dict.fromkeys(w.source for w in workloads.values() if "token sets from" in w.source)
    for source in told:
        note(f"loads are exact, {source[source.index('token sets from') :]}")


def _read_held(choice: str, model: ModelSpec) -> RoutingTrace:
    from moeplace.traces import RoutingTrace
    from moeplace.traces.sources import load_source

    held = load_source(choice, num_experts=model.num_experts)
    if not isinstance(held, RoutingTrace):
        raise UsageError(f"--holdout {choice}: it holds loads alone; give a trace of tokens")
    return held


def _fraction(text: str) -> float | None:
    """Return the number in --holdout, or None if it is the name of a file."""
    try:
        value = float(text)
    except ValueError:
        if not Path(text).exists() and "/" not in text and "." not in text:
            raise UsageError(f"--holdout {text!r}: give a fraction, a file or none") from None
        return None
    if not 0 < value < 1:
        raise UsageError(f"--holdout {text}: a fraction must lie between 0 and 1, or say none")
    return value


def _named(workloads: dict[str | None, Workload]) -> Phased:
    """Return the workloads by phase, or the only one where phases are not known."""
    if None in workloads:
        return workloads[None]
    return {str(phase): workload for phase, workload in workloads.items()}


def _first_phase(workloads: dict[str | None, Workload]) -> str | None:
    """Return the phase that `make_problem` takes when the user names none."""
    return "prefill" if "prefill" in workloads else next(iter(workloads))


def _of_phase(workload: Phased, phase: str | None) -> Workload:
    if not isinstance(workload, dict):
        return workload
    return workload.get(phase or "", next(iter(workload.values())))
