"""Parameters of the generator from the figures that its traces must have."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from moeplace.errors import UsageError
from moeplace.traces.analysis.measures import measure
from moeplace.traces.analysis.tally import tally_trace
from moeplace.traces.generator.generate import generate
from moeplace.traces.generator.spec import SynthSpec
from moeplace.traces.stored import concatenated, records, trace_chunks

if TYPE_CHECKING:
    from collections.abc import Mapping

    from moeplace.traces.analysis.tally import Tally
    from moeplace.traces.stored import Trace
    from moeplace.traces.trace import RoutingTrace
    from moeplace.traces.workload import Workload

# Which parameter answers for which figure, where it may lie, and whether the figure grows with it.
KNOBS: dict[str, tuple[str, float, float]] = {
    "skew_mean": ("skew", 0.0, 6.0),
    "gini": ("skew", 0.0, 6.0),
    "layer_coverage_all": ("topic_strength", 0.0, 6.0),
    "layer_coverage": ("topic_strength", 0.0, 6.0),
    "pair_share_10": ("topic_strength", 0.0, 6.0),
    "repeat": ("carry", 0.0, 0.97),
    "token_coverage_all": ("topic_stay", 0.0, 1.0),
    "token_coverage": ("topic_stay", 0.0, 1.0),
    "domain_variation": ("domain_shift", 0.0, 4.0),
    "phase_load_correlation": ("phase_shift", 0.0, 4.0),
    "drift_ends": ("drift", 0.0, 4.0),
}
FALLING = frozenset({"phase_load_correlation"})
ROUNDS = 3
HALVINGS = 6
FIT_LAYERS = 4
FIT_TOKENS = 6000


def figures(trace: Trace) -> dict[str, float]:
    """Return every figure of a trace by its key."""
    return {found.key: found.value for found in measure(tally_trace(trace))}


def calibrate(
    spec: SynthSpec, targets: Mapping[str, float], *, seed: int = 0, rounds: int = ROUNDS
) -> SynthSpec:
    """Turn one parameter after the other until its figure is as wanted, some rounds over.

    Small traces of a few layers are drawn for every try, so a figure comes out within a few
    percent; the report of the finished trace tells.

    Parameters
    ----------
    spec
        Where to start.
    targets
        Wanted figures, keys of `KNOBS`; two figures of one parameter: the first counts.
    seed
        Seed of the tries.
    rounds
        How often to go over all.

    Raises
    ------
    UsageError
        If a figure has no parameter.
    """
    chosen: dict[str, tuple[str, float]] = {}
    for key, value in targets.items():
        if key not in KNOBS:
            raise UsageError(f"no parameter answers for {key!r}; known: {', '.join(KNOBS)}")
        chosen.setdefault(KNOBS[key][0], (key, value))
    small = few_layers(spec)
    for _ in range(rounds):
        for knob, (key, value) in chosen.items():
            low, high = KNOBS[key][1:]
            for _ in range(HALVINGS):
                middle = (low + high) / 2
                found = _figure(small.replace(**{knob: middle}), key, seed)
                grows = found < value if key not in FALLING else found > value
                low, high = (middle, high) if grows else (low, middle)
            small = small.replace(**{knob: (low + high) / 2})
    return spec.replace(**{knob: getattr(small, knob) for knob in chosen})


def fit_trace(
    trace: Trace, *, n_group: int = 1, topk_group: int = 1, topics: int = 4, seed: int = 0
) -> SynthSpec:
    """Return a specification whose traces are like a real one.

    Loads by domain and phase are taken over; co-activation, ties between layers and repeats are
    calibrated to the figures of the trace; requests have its mean length.

    Parameters
    ----------
    trace
        The real one.
    n_group, topk_group
        Expert groups of its router.
    topics
        Latent topics.
    seed
        Seed of the calibration.

    Raises
    ------
    InputError
        If the trace is empty or corrupt.
    """
    tally = tally_trace(trace)
    wanted = {found.key: found.value for found in measure(tally)}
    prefill, decode = _lengths(trace, tally)
    domains = max(len(tally.domains), 1)
    spec = SynthSpec(
        name=f"like {trace.name}",
        num_experts=tally.num_experts,
        top_k=tally.top_k,
        layer_ids=tally.layer_ids,
        n_group=n_group,
        topk_group=topk_group,
        topics=topics,
        domains=domains,
        domain_names=tally.domains,
        domain_blocks=_in_blocks(trace, domains),
        prefill_tokens=prefill,
        decode_tokens=decode,
        load=tally.load,
        group_load=_group_load(trace, tally),
    )
    keys = ["layer_coverage_all", "token_coverage_all", "repeat"]
    targets = {key: wanted[key] for key in keys if key in wanted}
    return calibrate(spec, targets, seed=seed)


def fit_loads(
    workload: Workload,
    targets: Mapping[str, float],
    *,
    n_group: int = 1,
    topk_group: int = 1,
    seed: int = 0,
) -> SynthSpec:
    """Return a specification with measured loads and published figures for all else.

    Parameters
    ----------
    workload
        Loads, with top_k.
    targets
        Figures, keys of `KNOBS`.
    n_group, topk_group
        Expert groups of the router.
    seed
        Seed of the calibration.

    Raises
    ------
    UsageError
        If the loads do not say top_k.
    """
    if workload.top_k is None:
        raise UsageError(f"loads {workload.name!r} do not say top_k; name the model")
    spec = SynthSpec(
        name=f"like {workload.name}",
        num_experts=workload.num_experts,
        top_k=workload.top_k,
        layer_ids=workload.layer_ids or tuple(range(workload.num_layers)),
        n_group=n_group,
        topk_group=topk_group,
        load=workload.load,
    )
    return calibrate(spec, targets, seed=seed) if targets else spec


def few_layers(spec: SynthSpec) -> SynthSpec:
    """Return the specification with a few layers, evenly spread, for tries."""
    layers = min(FIT_LAYERS, spec.num_layers)
    rows = np.linspace(0, spec.num_layers - 1, layers).round().astype(int)
    return spec.replace(
        layer_ids=tuple(spec.layer_ids[row] for row in rows),
        load=None if spec.load is None else spec.load[rows],
        group_load=None if spec.group_load is None else spec.group_load[:, :, rows],
    )


def _figure(spec: SynthSpec, key: str, seed: int) -> float:
    length = spec.prefill_tokens + spec.decode_tokens
    requests = max(FIT_TOKENS // length, 2 * spec.domains, 4)
    trace = concatenated(list(generate(spec, requests, seed=seed)))
    return figures(trace)[key]


def _in_blocks(trace: Trace, domains: int) -> bool:
    """Tell whether the domains of a trace follow each other instead of taking turns."""
    changes = 0
    for chunk in trace_chunks(trace):
        if chunk.domain is not None:
            changes += int((chunk.domain[1:] != chunk.domain[:-1]).sum())
    return domains > 1 and changes < 2 * domains


def _lengths(trace: Trace, tally: Tally) -> tuple[int, int]:
    from moeplace.traces.transforms import request_numbers

    requests = max(int(request_numbers(trace).size), 1) if records(trace, "request") else 1
    if tally.phase_load is None:
        return max(round(tally.tokens / requests), 1), 0
    by_phase = tally.phase_load.sum(axis=2).max(axis=1) / tally.top_k
    prefill, decode = (round(float(n) / requests) for n in by_phase)
    return (prefill, decode) if prefill + decode else (1, 0)


def _group_load(trace: Trace, tally: Tally) -> np.ndarray | None:
    from moeplace.traces.coactivation_kernels import count_loads
    from moeplace.traces.trace import PHASES

    if tally.domain_load is None and tally.phase_load is None:
        return None
    domains = max(len(tally.domains), 1)
    table = np.zeros((domains * len(PHASES), tally.num_layers, tally.num_experts), np.int64)
    for chunk in trace_chunks(trace):
        group = np.zeros(chunk.num_tokens, np.int64)
        if chunk.domain is not None:
            group += chunk.domain.astype(np.int64) * len(PHASES)
        if chunk.phase is not None:
            group += chunk.phase
        count_loads(chunk.expert_ids, group, table)
    shape = (domains, len(PHASES), tally.num_layers, tally.num_experts)
    return table.reshape(shape).astype(np.float64)


def whole(spec: SynthSpec, requests: int, *, seed: int = 0) -> RoutingTrace:
    """Return a synthetic trace in memory."""
    return concatenated(list(generate(spec, requests, seed=seed)))
