"""From options to windows and the problem of a replay."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from moeplace.errors import InputError, UsageError

if TYPE_CHECKING:
    from moeplace.models import ModelSpec
    from moeplace.placement import Problem
    from moeplace.replay.windows import Windows

DEFAULT_WINDOWS = 50


@dataclass(frozen=True)
class ReplayOptions:
    """What the user said; None where nothing was said."""

    model: str
    hw: str
    ranks: int | None
    traces: tuple[str, ...]
    drift: str | None
    windows: int | None
    window_size: int | None
    by: str
    token_sets: bool
    phase: str | None
    tokens_per_rank: int | None
    redundant: int
    slots_per_rank: int | None
    dedup: str | None
    weight_dtype: str | None
    seed: int


def build_replay(options: ReplayOptions) -> tuple[Problem, Windows]:
    """Read what the options name.

    Raises
    ------
    MoeplaceError
        If something is missing, unknown, unreadable or does not fit together.
    """
    from moeplace.hwmodels import DEDUP_MODES, PHASES, load_system
    from moeplace.models import load_model
    from moeplace.replay.instance import replay_problem

    for name, choices in (("phase", PHASES), ("dedup", DEDUP_MODES)):
        said = getattr(options, name)
        if said is not None and said not in choices:
            raise UsageError(f"--{name} is {said!r}; use one of: {', '.join(choices)}")
    model = load_model(options.model)
    system = load_system(options.hw, options.ranks)
    windows = read_windows(options, model)
    return replay_problem(
        model,
        system,
        windows,
        phase=options.phase or "prefill",
        tokens_per_rank=options.tokens_per_rank,
        redundant=options.redundant,
        slots_per_rank=options.slots_per_rank,
        dedup=options.dedup,
        weight_dtype=options.weight_dtype,
    )


def read_windows(options: ReplayOptions, model: ModelSpec) -> Windows:
    """Return windows of generated loads, of a trace, or of one load file after the other."""
    from moeplace.replay.drift import drifting_windows
    from moeplace.replay.windows import load_windows, trace_windows
    from moeplace.traces import RoutingTrace, Workload
    from moeplace.traces.stored import StoredTrace

    if options.drift is not None:
        if options.traces:
            raise UsageError("give --trace or --drift, not both")
        drift = read_drift(options.drift, model)
        return drifting_windows(drift, options.windows or DEFAULT_WINDOWS, options.seed)
    sources = [_source(name, model) for name in options.traces or shipped_names(model.name)]
    tokens = [s for s in sources if isinstance(s, (RoutingTrace, StoredTrace))]
    loads = [s for s in sources if isinstance(s, Workload)]
    if tokens and (loads or len(tokens) > 1):
        raise UsageError(
            "--trace takes one trace of tokens, or files of loads, which follow one another"
        )
    if loads:
        if options.token_sets or options.window_size is not None:
            raise UsageError("loads alone are not cut by tokens and have no token sets")
        return load_windows([load.bind(model) for load in loads], windows=options.windows)
    count = options.windows
    if options.window_size is None and count is None:
        count = DEFAULT_WINDOWS
    return trace_windows(
        tokens[0],
        windows=count,
        size=options.window_size,
        by=options.by,
        phase=_recorded(tokens[0], options.phase),
        keep_tokens=options.token_sets,
    )


def fitted_loads(names: list[str], model: ModelSpec) -> Any:
    """Return (layers, experts) loads that first maps are made for, of one or several files."""
    from moeplace.replay.windows import shares
    from moeplace.traces import Workload

    total: Any = 0.0
    for name in names:
        source = _source(name, model)
        found = source if isinstance(source, Workload) else Workload.from_trace(source)
        total = total + shares(found.bind(model).load)
    return total


def read_drift(text: str, model: ModelSpec) -> Any:
    """Read ``name=value,...`` of :class:`~moeplace.replay.drift.Drift`; shape from the model."""
    from moeplace.replay.drift import Drift

    drift = Drift(
        layers=len(model.moe_layers),
        experts=model.num_experts,
        top_k=model.top_k,
        hot_experts=max(1, round(10 / 64 * model.num_experts)),
    )
    known = {field.name: field.type for field in fields(Drift)}
    known = {name: known[name] for name in known if name not in ("layers", "experts", "top_k")}
    changes: dict[str, Any] = {}
    for part in filter(None, (p.strip() for p in text.split(","))):
        name, _, value = part.partition("=")
        if name == "default" and not value:
            continue
        if name not in known:
            raise UsageError(f"--drift: {part!r}; give NAME=VALUE of {', '.join(known)}")
        try:
            changes[name] = int(value) if known[name] == "int" else float(value)
        except ValueError:
            raise UsageError(f"--drift: {name} is {value!r}; give a number") from None
    return replace(drift, **changes)


def shipped_names(model: str) -> list[str]:
    """Return the shipped recordings of a model.

    Raises
    ------
    InputError
        If there are none.
    """
    from moeplace.traces import shipped_workloads
    from moeplace.traces.shipped import SAME_AS

    prefix = SAME_AS.get(model.lower(), model.lower()) + "/"
    names = [name for name in shipped_workloads() if name.startswith(prefix)]
    if not names:
        raise InputError(f"nothing is shipped for {model}: give --trace, or --drift to generate")
    return names


def _source(name: str, model: ModelSpec) -> Any:
    from moeplace.traces.importers.registry import detect_format
    from moeplace.traces.sources import load_source
    from moeplace.traces.stored import open_trace

    path = Path(name)
    if path.exists():
        try:
            if detect_format(path) == "parquet":
                return open_trace(path)
        except InputError:
            pass  # load_source tells what is wrong
    return load_source(name, num_experts=model.num_experts)


def _recorded(trace: Any, phase: str | None) -> str | None:
    from moeplace.traces.stored import records

    return phase if phase is not None and records(trace, "phase") else None
