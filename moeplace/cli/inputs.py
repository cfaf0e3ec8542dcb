"""From options to a problem."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from moeplace.errors import InputError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from moeplace.cli.options import ProblemOptions
    from moeplace.hwmodels import System
    from moeplace.models import ModelSpec
    from moeplace.placement import Problem
    from moeplace.traces import RoutingTrace, Workload

AUTO = "auto"


def build_problem(
    options: ProblemOptions, note: Callable[[str], None], *, auto: bool = False
) -> Problem:
    """Read everything the options name and put the problem together.

    Parameters
    ----------
    options
        As the user gave them.
    note
        Where to say what the user should know but did not ask for.
    auto
        Whether ``--redundant auto`` is understood; the problem starts without redundancy then.

    Raises
    ------
    MoeplaceError
        If something is missing, unknown, unreadable or does not fit together.
    """
    from moeplace.hwmodels import DEDUP_MODES, PHASES, load_system
    from moeplace.models import load_model
    from moeplace.placement import (
        DISPATCH_POLICIES,
        EXECUTIONS,
        OBJECTIVES,
        RISKS,
        make_problem,
    )

    if options.model is None:
        raise UsageError("give a model with --model; `moeplace model list` shows the known ones")
    if options.hw is None:
        raise UsageError("give a system with --hw; `moeplace hw list` shows the known ones")
    for name, choices in (
        ("phase", PHASES),
        ("objective", OBJECTIVES),
        ("dedup", DEDUP_MODES),
        ("dispatch", DISPATCH_POLICIES),
        ("execution", EXECUTIONS),
        ("robust", RISKS),
    ):
        said = getattr(options, name)
        if said is not None and said not in choices:
            raise UsageError(f"--{name} is {said!r}; use one of: {', '.join(choices)}")
    model = load_model(options.model)
    if model.non_expert_params is None:
        note(f"{model.name} does not say its total size: only expert weights count as memory")
    system = load_system(options.hw, options.ranks)
    if options.calibration is not None:
        system = _calibrated(options, system, model, note)
    phase = options.phase
    settings: dict[str, Any] = {
        "redundant": 0 if auto and options.redundant == AUTO else _redundancy(options),
        "objective": options.objective or "time",
        "dedup": options.dedup,
        "dispatch": options.dispatch or "even",
        "execution": options.execution or "return",
        "tokens_per_rank": options.tokens_per_rank,
        "slots_per_rank": options.slots_per_rank,
        "weight_dtype": options.weight_dtype,
        "max_load": options.max_load,
        "groups_on_nodes": options.groups_on_nodes,
        **_current(options, model, system.ranks),
    }
    if options.robust is not None:
        return _robust(options, model, system, settings)
    workload, holdout = read_workload(options, model, note)
    found = workload.keys() if isinstance(workload, dict) else {workload.phase}
    if phase is not None and phase not in found and None not in found:
        note(
            f"only {' and '.join(str(p) for p in found)} routing is known; "
            f"{phase} is scored with it"
        )
    return make_problem(model, system, workload, phase=phase, **settings, **holdout)


def _calibrated(
    options: ProblemOptions, system: System, model: ModelSpec, note: Callable[[str], None]
) -> System:
    """Return the system with fitted kernels; say where they are used beyond their range."""
    from moeplace.hwmodels.calibrate.apply import calibrate_system
    from moeplace.placement.problem import DEFAULT_TOKENS_PER_RANK

    tokens = dict(DEFAULT_TOKENS_PER_RANK)
    if options.tokens_per_rank is not None:
        tokens[options.phase or "prefill"] = options.tokens_per_rank
    calibrated, notes = calibrate_system(system, model, tokens, str(options.calibration))
    for told in notes:
        note(told)
    return calibrated


def _redundancy(options: ProblemOptions) -> int:
    try:
        return int(options.redundant or 0)
    except ValueError:
        raise UsageError(
            f"--redundant is {options.redundant!r}; give a number (auto: `moeplace solve` only)"
        ) from None


def _current(options: ProblemOptions, model: ModelSpec, ranks: int) -> dict[str, Any]:
    """Return the placement in use and what moving away from it may cost."""
    from moeplace.placement.formats import read_placement

    if options.current is None:
        if options.max_moves is not None or options.move_price is not None:
            raise UsageError(
                "--max-moves and --move-price count from a map: give it with --current"
            )
        return {}
    return {
        "current": read_placement(options.current, model=model, num_ranks=ranks),
        "max_moves": options.max_moves,
        "move_price_us_per_GB": options.move_price or 0.0,
    }


def _robust(
    options: ProblemOptions, model: ModelSpec, system: System, settings: dict[str, Any]
) -> Problem:
    """Return one problem over scenarios: every --trace, or every phase known for the model."""
    from moeplace.placement import make_problem, make_robust

    if options.holdout not in (None, "none"):
        raise UsageError("--robust fits on every scenario; leave --holdout out")
    whole = replace(options, holdout="none")
    problems = []
    for trace in [[name] for name in options.trace] if options.trace else [None]:
        workload, _ = read_workload(replace(whole, trace=trace), model)
        parts = workload if isinstance(workload, dict) else {options.phase: workload}
        problems += [
            make_problem(model, system, part, phase=phase or options.phase, **settings)
            for phase, part in parts.items()
            if options.phase in (None, phase)
        ]
    return make_robust(problems, options.robust or "max")


def read_workload(
    options: ProblemOptions, model: ModelSpec, note: Callable[[str], None] | None = None
) -> tuple[Workload | dict[str, Workload], dict[str, Any]]:
    """Return the workload, by phase where phases are known, and what is held out of it."""
    from moeplace.cli.token_workloads import opened_traces, split_trace
    from moeplace.traces import RoutingTrace, default_trace, default_workloads
    from moeplace.traces.sources import join_traces, load_source

    sources: list[RoutingTrace | Workload]
    if options.trace:
        with opened_traces(options.trace, model, note) as stored:
            if stored is not None:
                return split_trace(stored, options, model, note)
        sources = [load_source(name, num_experts=model.num_experts) for name in options.trace]
    else:
        shipped = default_trace(model.name)
        sources = [shipped] if shipped is not None else [*default_workloads(model.name).values()]
    traces = [source for source in sources if isinstance(source, RoutingTrace)]
    loads = [source for source in sources if not isinstance(source, RoutingTrace)]
    if not sources:
        raise InputError(_nothing_shipped(model.name))
    if traces and loads:
        raise UsageError(
            f"--trace: {traces[0].name!r} holds tokens and {loads[0].name!r} holds loads alone; "
            "give files of one kind"
        )
    if traces:
        return split_trace(join_traces(traces), options, model, note)
    if options.holdout not in (None, "none"):
        raise UsageError(
            "--holdout needs a trace of tokens; this workload is known by its loads alone"
        )
    return _loads_by_phase(loads), {}


def _loads_by_phase(loads: list[Workload]) -> Workload | dict[str, Workload]:
    from moeplace.traces.sources import join_loads

    if any(workload.phase is None for workload in loads):
        return join_loads(loads)
    phases = dict.fromkeys(str(workload.phase) for workload in loads)
    return {p: join_loads([w for w in loads if w.phase == p]) for p in phases}


def _nothing_shipped(model: str) -> str:
    from moeplace.traces import shipped_workloads

    models = dict.fromkeys(name.split("/")[0] for name in shipped_workloads())
    return (
        f"no workload is shipped for {model} (only for {', '.join(models)}): give a recorded one "
        "with --trace"
    )
