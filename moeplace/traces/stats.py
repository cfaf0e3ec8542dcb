"""What a trace or a workload looks like, in numbers."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from moeplace.errors import InputError
from moeplace.traces.anchors import anchor_experts, anchor_transitions
from moeplace.traces.trace import PHASES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray

    from moeplace.traces.token_sets import TokenSets
    from moeplace.traces.trace import RoutingTrace
    from moeplace.traces.workload import Workload

RANKS = (4, 8, 16, 32)
PAIR_SHARES = (0.01, 0.1)


@dataclass(frozen=True)
class TraceInfo:
    """What a trace holds.

    Attributes
    ----------
    name
        Its name.
    tokens, layers, top_k, experts
        Its shape.
    layer_ids
        Absolute layer ids, or None.
    requests
        Distinct requests, or None without a request column.
    tokens_per_request
        Fewest, median and most tokens of a request, or None.
    phases
        Tokens of each phase; empty if phases are not recorded.
    domains
        Tokens of each domain; empty if domains are not recorded.
    absent
        Share of ids that are absent.
    has_weights
        Whether router weights are recorded.
    phase_spearman
        Rank correlation of prefill and decode loads for each layer (NaN where a load is constant),
        or None if a phase is missing.
    warnings
        What the importer noticed.
    source
        Where the trace is from.
    """

    name: str
    tokens: int
    layers: int
    top_k: int
    experts: int
    layer_ids: tuple[int, ...] | None
    requests: int | None
    tokens_per_request: tuple[int, float, int] | None
    phases: dict[str, int]
    domains: dict[str, int]
    absent: float
    has_weights: bool
    phase_spearman: tuple[float, ...] | None
    warnings: tuple[str, ...]
    source: str

    def as_dict(self) -> dict[str, Any]:
        """Return the values by name, fit for JSON."""
        return dataclasses.asdict(self)


@dataclass(frozen=True)
class WorkloadStats:
    """How uneven a workload is, and how much its experts go together; tuples are by layer.

    Attributes
    ----------
    name, kind, token_sets_kind, phase, tokens, layers, experts, top_k, layer_ids
        As in `Workload`.
    imbalance
        Largest over mean load of an expert.
    gini
        Gini coefficient of the loads: 0 all equal, 1 all on one expert.
    effective_experts
        exp(entropy of the loads): as many equally loaded experts would be as uncertain.
    top_expert, top_share
        The most loaded expert and its share of the load.
    pair_share
        By part of the pairs (``"1%"``, ``"10%"``): the share of all co-activations that the most
        frequent pairs hold. None without token sets.
    pair_lift
        By part of the pairs: co-activations of these pairs over what independent experts of the
        same loads would have. None without token sets.
    contiguous_ranks
        By number of ranks: mean ranks that a token touches when experts lie in order.
    random_ranks
        By number of ranks: the same, expected for experts dealt at random.
    """

    name: str
    kind: str
    token_sets_kind: str | None
    phase: str | None
    tokens: int
    layers: int
    experts: int
    top_k: int | None
    layer_ids: tuple[int, ...] | None
    imbalance: tuple[float, ...]
    gini: tuple[float, ...]
    effective_experts: tuple[float, ...]
    top_expert: tuple[int, ...]
    top_share: tuple[float, ...]
    pair_share: dict[str, tuple[float, ...]] | None
    pair_lift: dict[str, tuple[float, ...]] | None
    contiguous_ranks: dict[int, tuple[float, ...]] | None
    random_ranks: dict[int, float] | None

    def as_dict(self) -> dict[str, Any]:
        """Return the values by name, fit for JSON."""
        return dataclasses.asdict(self)


def trace_info(trace: RoutingTrace) -> TraceInfo:
    """Describe a trace.

    Parameters
    ----------
    trace
        Any trace.
    """
    lengths = None if trace.request is None else np.unique(trace.request, return_counts=True)[1]
    phases: dict[str, int] = {}
    if trace.phase is not None:
        counts = np.bincount(trace.phase, minlength=len(PHASES))
        phases = {name: int(n) for name, n in zip(PHASES, counts, strict=True) if n}
    domains: dict[str, int] = {}
    if trace.domain is not None:
        counts = np.bincount(trace.domain, minlength=len(trace.domains))
        domains = {name: int(n) for name, n in zip(trace.domains, counts, strict=True)}
    both = len(phases) == len(PHASES)
    return TraceInfo(
        name=trace.name,
        tokens=trace.num_tokens,
        layers=trace.num_layers,
        top_k=trace.top_k,
        experts=trace.num_experts,
        layer_ids=trace.layer_ids,
        requests=None if lengths is None else int(lengths.size),
        tokens_per_request=None
        if lengths is None or not lengths.size
        else (int(lengths.min()), float(np.median(lengths)), int(lengths.max())),
        phases=phases,
        domains=domains,
        absent=float(1.0 - trace.valid.mean()) if trace.num_tokens else 0.0,
        has_weights=trace.weights is not None,
        phase_spearman=phase_spearman(trace) if both else None,
        warnings=tuple(str(text) for text in trace.meta.get("warnings", ())),
        source=str(trace.meta.get("source", "")),
    )


def phase_spearman(trace: RoutingTrace) -> tuple[float, ...]:
    """Return the rank correlation of prefill and decode loads for each layer.

    Parameters
    ----------
    trace
        A trace with tokens of both phases.

    Raises
    ------
    InputError
        If a phase is not recorded.
    """
    loads = [_loads(trace.select_phase(phase)) for phase in PHASES]
    return tuple(spearman(a, b) for a, b in zip(*loads, strict=True))


def workload_stats(workload: Workload, ranks: Sequence[int] = RANKS) -> WorkloadStats:
    """Measure a workload, layer by layer.

    Parameters
    ----------
    workload
        Any workload; what needs token sets is None without them.
    ranks
        Numbers of ranks to count touched ranks for; more ranks than experts are left out.
    """
    load = workload.load
    total = np.maximum(load.sum(axis=1, keepdims=True), np.finfo(float).tiny)
    share = load / total
    sets = workload.token_sets
    pairs = None if sets is None else [_pairs(s, row) for s, row in zip(sets, load, strict=True)]
    labels = [f"{part:.0%}" for part in PAIR_SHARES]
    fits = [r for r in ranks if r <= workload.num_experts]
    top_k = workload.top_k
    return WorkloadStats(
        name=workload.name,
        kind=workload.kind,
        token_sets_kind=workload.token_sets_kind,
        phase=workload.phase,
        tokens=workload.num_tokens,
        layers=workload.num_layers,
        experts=workload.num_experts,
        top_k=top_k,
        layer_ids=workload.layer_ids,
        imbalance=_floats(share.max(axis=1) * workload.num_experts),
        gini=_floats([gini(row) for row in load]),
        effective_experts=_floats(np.exp(-np.sum(share * _log(share), axis=1))),
        top_expert=tuple(int(e) for e in load.argmax(axis=1)),
        top_share=_floats(share.max(axis=1)),
        pair_share=None
        if pairs is None
        else {x: _floats([p[0][i] for p in pairs]) for i, x in enumerate(labels)},
        pair_lift=None
        if pairs is None
        else {x: _floats([p[1][i] for p in pairs]) for i, x in enumerate(labels)},
        contiguous_ranks=None
        if sets is None
        else {r: _floats([_ranks_touched(s, workload.num_experts, r) for s in sets]) for r in fits},
        random_ranks=None
        if top_k is None
        else {r: _random_ranks(workload.num_experts, top_k, r) for r in fits},
    )


def gini(load: ArrayLike) -> float:
    """Return the Gini coefficient of non-negative loads: 0 all equal, → 1 all on one.

    Parameters
    ----------
    load
        (experts,) loads.
    """
    ordered = np.sort(np.asarray(load, dtype=np.float64))
    total = float(ordered.sum())
    if total <= 0:
        return 0.0
    n = ordered.size
    return float(2.0 * np.dot(np.arange(1, n + 1), ordered) / (n * total) - (n + 1) / n)


def spearman(first: ArrayLike, second: ArrayLike) -> float:
    """Return Spearman's rank correlation, ties at their mean rank; NaN if one is constant.

    Parameters
    ----------
    first, second
        (n,) values.
    """
    a, b = (_mean_ranks(np.asarray(values)) for values in (first, second))
    a, b = a - a.mean(), b - b.mean()
    scale = float(np.sqrt(np.dot(a, a) * np.dot(b, b)))
    return float(np.dot(a, b)) / scale if scale > 0 else float("nan")


def transitions(trace: RoutingTrace, *, primary: bool = False) -> NDArray[np.float64]:
    """Count what tokens use in one recorded layer and the next.

    Parameters
    ----------
    trace
        Any trace with two layers or more.
    primary
        Count the main expert of each layer only: that of the largest router weight, or without
        weights the first id (many recorders write the largest first; not all do).

    Returns
    -------
    ndarray
        (layers − 1, experts, experts): [l, e, f] tokens that use e in layer l and f in the next.

    Raises
    ------
    InputError
        If there is one layer only.
    """
    if trace.num_layers < 2:
        raise InputError(f"trace {trace.name!r} has one layer; transitions need two")
    if primary:
        return anchor_transitions(anchor_experts(trace), trace.num_experts)
    ids = np.where(trace.valid, trace.expert_ids, trace.num_experts).astype(np.int64)
    side = trace.num_experts + 1
    counts = np.zeros((trace.num_layers - 1, side * side))
    for row in range(trace.num_layers - 1):
        keys = (ids[:, row, :, None] * side + ids[:, row + 1, None, :]).ravel()
        counts[row] = np.bincount(keys, minlength=side * side)
    table: NDArray[np.float64] = counts.reshape(-1, side, side)[:, :-1, :-1]
    return table


def _pairs(sets: TokenSets, load: NDArray[np.float64]) -> tuple[list[float], list[float]]:
    """Return share and lift of the most frequent pairs, for each part of the pairs."""
    upper = np.triu_indices(load.size, 1)
    together = sets.coactivation(load.size)[upper]
    alone = np.outer(load, load)[upper]
    total, expected_total = float(together.sum()), float(alone.sum())
    shares, lifts = [], []
    order = np.argsort(-together, kind="stable")
    for part in PAIR_SHARES:
        top = order[: max(1, round(part * order.size))]
        share = float(together[top].sum()) / total if total > 0 else float("nan")
        expected = float(alone[top].sum()) / expected_total if expected_total > 0 else 0.0
        shares.append(share)
        lifts.append(share / expected if expected > 0 else float("nan"))
    return shares, lifts


def _ranks_touched(sets: TokenSets, experts: int, ranks: int) -> float:
    # The first experts mod ranks ranks hold one more, as everywhere in this package.
    size, more = divmod(experts, ranks)
    rank_of = np.repeat(np.arange(ranks), size + (np.arange(ranks) < more))
    touched = np.zeros((sets.num_sets, ranks + 1), dtype=bool)
    where = np.append(rank_of, ranks)[sets.ids]
    touched[np.arange(sets.num_sets)[:, None], where] = True
    if not sets.num_sets:
        return float("nan")
    return float(np.average(touched[:, :ranks].sum(axis=1), weights=sets.weight))


def _random_ranks(experts: int, top_k: int, ranks: int) -> float:
    """Return the mean ranks touched by `top_k` random experts (hypergeometric)."""
    size, more = divmod(experts, ranks)
    touched = 0.0
    for held, count in ((size + 1, more), (size, ranks - more)):
        draws = np.arange(top_k)
        miss = float(np.prod(np.maximum(experts - held - draws, 0) / (experts - draws)))
        touched += count * (1.0 - miss)
    return touched


def _loads(trace: RoutingTrace) -> NDArray[np.float64]:
    ids = np.where(trace.valid, trace.expert_ids, trace.num_experts)
    size = trace.num_experts + 1
    rows = [np.bincount(ids[:, row].ravel(), minlength=size)[:-1] for row in range(ids.shape[1])]
    return np.stack(rows).astype(np.float64)


def _mean_ranks(values: NDArray[Any]) -> NDArray[np.float64]:
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    ranks: NDArray[np.float64] = (last - (counts - 1) / 2.0)[inverse]
    return ranks


def _log(share: NDArray[np.float64]) -> NDArray[np.float64]:
    logs: NDArray[np.float64] = np.log(np.where(share > 0, share, 1.0))
    return logs


def _floats(values: ArrayLike) -> tuple[float, ...]:
    return tuple(float(v) for v in np.asarray(values))
