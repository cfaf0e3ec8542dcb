"""The figures of the paper, measured on a tally: one function an observation."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from moeplace.traces.analysis.forecast import (
    chance_of_repeat,
    coverage,
    pair_share,
    repeat_share,
)
from moeplace.traces.analysis.shift import (
    TOPS,
    jensen_shannon,
    rank_correlation,
    top_overlap,
    total_variation,
)
from moeplace.traces.stats import gini

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from moeplace.traces.analysis.tally import Tally

DOMINANT_SHARE = 0.95  # a layer that sends this to one expert is left out of means
CHINESE = ("zh", "chinese", "_cn", "-cn")


@dataclass(frozen=True)
class Measure:
    """One figure of a trace.

    Attributes
    ----------
    key
        Its name in `paper.yaml` and in JSON.
    observation
        ``"Ob1"`` to ``"Ob5"``, or empty.
    text
        What it is, in words.
    value
        The figure, mean over layers.
    baseline, baseline_text
        What chance or popularity alone would give, and which of them.
    by_layer
        The figure in each layer, where it has one.
    """

    key: str
    observation: str
    text: str
    value: float
    baseline: float | None = None
    baseline_text: str = ""
    by_layer: tuple[float, ...] = field(default=())


def odd_layers(tally: Tally) -> tuple[int, ...]:
    """Return rows of layers that send nearly everything to one expert: not used for means."""
    top = tally.load.max(axis=1) / np.maximum(tally.load.sum(axis=1), 1.0)
    return tuple(int(i) for i in np.flatnonzero(top * tally.top_k > DOMINANT_SHARE * _unit(tally)))


def _unit(tally: Tally) -> float:
    # With top_k > 1 an expert in every token is no accident of one layer, it is a shared expert.
    return 1.0 if tally.top_k == 1 else np.inf


def measure(tally: Tally) -> list[Measure]:
    """Return every figure that the trace allows.

    Parameters
    ----------
    tally
        Counts of a trace.
    """
    keep = [row for row in range(tally.num_layers) if row not in odd_layers(tally)]
    keep = keep or list(range(tally.num_layers))
    found = [*_between_layers(tally, keep), *_between_tokens(tally, keep)]
    found += [*_phases(tally, keep), *_skew(tally, keep), *_domains(tally, keep)]
    return [*found, *_pairs(tally, keep), *_drift(tally, keep)]


def _between_layers(tally: Tally, keep: list[int]) -> list[Measure]:
    rows = [row for row in keep if row + 1 in keep]
    if not rows:
        return []
    found = coverage(tally.next_layer[:, rows])
    shares = pair_share(tally.next_layer[:, rows].sum(axis=0), 0.2)
    popular = ("popularity alone", float(np.mean(found.popularity)))
    return [
        _of("layer_coverage", "Ob1", "next layer: 20 % list of a layer's top expert covers",
            found.top_expert, popular),
        _of("layer_coverage_all", "Ob1", "next layer: 20 % lists of all experts cover",
            found.conditional, popular),
        _of("layer_coverage_held_out", "Ob1", "the same, lists from the other half of the requests",
            found.held_out, ("popularity alone", float(np.mean(found.held_out_popularity)))),
        _of("layer_pair_share", "Ob1", "top 20 % of pairs of experts in successive layers hold",
            shares, ("even", 0.2)),
    ]  # fmt: skip


def _between_tokens(tally: Tally, keep: list[int]) -> list[Measure]:
    if tally.next_token is None or not tally.steps:
        return []
    tables = tally.next_token[:, :, keep]
    decode = tables[-1] if tables[-1].any() else tables.sum(axis=0)
    found = coverage(decode)
    popular = ("popularity alone", float(np.mean(found.popularity)))
    again = repeat_share(decode.sum(axis=0), tally.top_k)
    chance = float(np.mean(chance_of_repeat(tally.load[keep], tally.top_k)))
    return [
        _of("token_coverage", "Ob2", "next token: 20 % list of a layer's top expert covers",
            found.top_expert, popular),
        _of("token_coverage_all", "Ob2", "next token: 20 % lists of all experts cover",
            found.conditional, popular),
        _of("token_coverage_held_out", "Ob2", "the same, lists from the other half of the requests",
            found.held_out, ("popularity alone", float(np.mean(found.held_out_popularity)))),
        _of("repeat", "Ob2", "experts of a token that the next token uses again",
            again, ("independent tokens", chance)),
    ]  # fmt: skip


def _phases(tally: Tally, keep: list[int]) -> list[Measure]:
    if tally.phase_load is None or not tally.phase_load.any(axis=(1, 2)).all():
        return []
    prefill, decode = tally.phase_load[:, keep]
    rank = rank_correlation(prefill, decode)
    found = [_of("phase_load_correlation", "Ob3", "prefill against decode loads, Spearman", rank)]
    if tally.next_token is not None and tally.next_token.any(axis=(1, 2, 3, 4)).all():
        maps = tally.next_token[:, :, keep].sum(axis=1)
        found.append(
            _of("phase_correlation", "Ob3", "prefill against decode token heat maps, Spearman",
                rank_correlation(*maps.astype(np.float64)))
        )  # fmt: skip
    for top in TOPS:
        chance = top / tally.num_experts
        found.append(
            _of(f"phase_overlap_{top}", "Ob3", f"top {top} of prefill also in top {top} of decode",
                top_overlap(prefill, decode, top), ("chance", chance))
        )  # fmt: skip
    return found


def _skew(tally: Tally, keep: list[int]) -> list[Measure]:
    load = tally.load[keep]
    mean = np.maximum(load.mean(axis=1), 1e-300)
    part = load / np.maximum(load.sum(axis=1, keepdims=True), 1e-300)
    entropy = -np.sum(part * np.log(np.where(part > 0, part, 1.0)), axis=1)
    ordered = -np.sort(-part, axis=1)
    tenth = max(round(0.1 * tally.num_experts), 1)
    top_tenth = ordered[:, :tenth].sum(axis=1)
    return [
        Measure("skew", "Ob4", "hottest expert over the mean, worst layer",
                float(np.max(load.max(axis=1) / mean)), 1.0, "even"),
        _of("skew_mean", "Ob4", "hottest expert over the mean", load.max(axis=1) / mean,
            ("even", 1.0)),
        _of("gini", "Ob4", "Gini coefficient of the loads", np.array([gini(r) for r in load]),
            ("even", 0.0)),
        _of("effective_experts", "Ob4", "effective experts, exp(entropy)", np.exp(entropy),
            ("even", float(tally.num_experts))),
        _of("top_tenth", "Ob4", "hottest 10 % of the experts carry", top_tenth, ("even", 0.1)),
    ]  # fmt: skip


def _domains(tally: Tally, keep: list[int]) -> list[Measure]:
    if tally.domain_load is None:
        return []
    used = [d for d in range(len(tally.domains)) if tally.domain_load[d].any()]
    if len(used) < 2:
        return []
    loads = tally.domain_load[used][:, keep]
    couples = [(a, b) for a in range(len(used)) for b in range(a)]
    moved = np.mean([total_variation(loads[a], loads[b]) for a, b in couples], axis=0)
    same = np.mean([top_overlap(loads[a], loads[b], 10) for a, b in couples], axis=0)
    tops = [np.argsort(-load, axis=1, kind="stable")[:, :10] for load in loads]
    everywhere = [
        len(set.intersection(*(set(top[row].tolist()) for top in tops)))
        for row in range(loads.shape[1])
    ]
    found = [
        _of("domain_variation", "Ob4", "load that moves between two domains (total variation)",
            moved, ("same", 0.0)),
        _of("domain_overlap_10", "Ob4", "top 10 of a domain also in top 10 of another",
            same, ("chance", 10 / tally.num_experts)),
        _of("hot_everywhere", "Ob4", "experts in the top 10 of every domain",
            np.array(everywhere, dtype=float)),
    ]  # fmt: skip
    names = [tally.domains[d] for d in used]
    chinese = [any(word in name.lower() for word in CHINESE) for name in names]
    if any(chinese) and not all(chinese):
        there = loads[chinese].sum(axis=0)
        here = loads[[not c for c in chinese]].sum(axis=0)
        found.append(
            _of("language_overlap", "Ob4", "top 5 in Chinese also in top 5 in other languages",
                top_overlap(there, here, 5), ("chance", 5 / tally.num_experts))
        )  # fmt: skip
    return found


def _pairs(tally: Tally, keep: list[int]) -> list[Measure]:
    if tally.top_k < 2:
        return []
    upper = np.triu_indices(tally.num_experts, 1)
    together = tally.pairs[keep][:, upper[0], upper[1]]
    total = np.maximum(together.sum(axis=1), 1.0)
    load = tally.load[keep]
    alone = load[:, upper[0]] * load[:, upper[1]]
    alone = alone / np.maximum(alone.sum(axis=1, keepdims=True), 1e-300)
    ordered = -np.sort(-together, axis=1)
    count = together.shape[1]
    found = [
        _of("pair_brightness", "Ob5", "most frequent pair over an even share of all pairs",
            ordered[:, 0] / total * count, ("even", 1.0)),
    ]  # fmt: skip
    for percent in (1, 10):
        size = max(round(percent / 100 * count), 1)
        top = np.argsort(-together, axis=1, kind="stable")[:, :size]
        chance = float(np.mean(np.take_along_axis(alone, top, axis=1).sum(axis=1)))
        found.append(
            _of(f"pair_share_{percent}", "Ob5", f"top {percent} % of pairs hold",
                ordered[:, :size].sum(axis=1) / total, ("independent experts", chance))
        )  # fmt: skip
    return found


def _drift(tally: Tally, keep: list[int]) -> list[Measure]:
    windows = tally.window_load[:, keep]
    if windows.shape[0] < 2 or not windows.any(axis=(1, 2)).all():
        return []
    steps = [jensen_shannon(a, b) for a, b in itertools.pairwise(windows)]
    return [
        _of("drift_step", "", "Jensen–Shannon divergence of successive windows, bits",
            np.mean(steps, axis=0), ("same", 0.0)),
        _of("drift_ends", "", "the same, first against last window",
            jensen_shannon(windows[0], windows[-1]), ("same", 0.0)),
    ]  # fmt: skip


def _of(
    key: str,
    observation: str,
    text: str,
    by_layer: Any,
    baseline: tuple[str, float] | None = None,
) -> Measure:
    values: NDArray[np.float64] = np.asarray(by_layer, dtype=np.float64)
    finite = values[np.isfinite(values)]
    return Measure(
        key,
        observation,
        text,
        float(finite.mean()) if finite.size else float("nan"),
        None if baseline is None else baseline[1],
        "" if baseline is None else baseline[0],
        tuple(float(v) for v in values),
    )
