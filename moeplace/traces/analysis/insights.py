"""The observations of "Patterns behind Chaos" beside a trace, and what its six insights become."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from moeplace.traces.analysis.measures import Measure, measure, odd_layers
from moeplace.traces.analysis.shift import transfer_matrix
from moeplace.traces.analysis.tally import Tally, tally_trace

if TYPE_CHECKING:
    from collections.abc import Mapping

    from moeplace.traces.stored import Trace

RANKS = 8
# What a figure must reach before a sentence says "for": chosen, not measured.
CLEARLY_MORE = 1.1  # times the baseline
STRONG_CORRELATION = 0.7  # the paper calls layers above it strong
GOOD_TRANSFER = 0.5  # part of the oracle's gain over experts in order
SKEWED = 2.0  # hottest expert over the mean
SHIFTED = 0.15  # total variation between domains


@dataclass(frozen=True)
class Row:
    """One figure: the paper's, by model, and this trace's."""

    measure: Measure
    paper: Mapping[str, str]
    source: str


@dataclass(frozen=True)
class Insight:
    """One of the six insights.

    Attributes
    ----------
    number, title
        As in the paper.
    verdict
        ``"for"``, ``"against"``, or ``"not told"`` where the trace records too little.
    sentence
        The evidence, in words and figures.
    """

    number: int
    title: str
    verdict: str
    sentence: str


@dataclass(frozen=True, eq=False)
class Insights:
    """What a trace says about the paper.

    Attributes
    ----------
    name, tokens, num_experts, top_k, layer_ids
        Of the trace.
    model
        The paper's model that has these experts and this top_k, or None.
    rows
        Every figure.
    insights
        The six insights.
    left_out
        Layer ids that are in no mean, because nearly every token goes to one expert.
    windows
        (windows + 1, windows) max / mean load of ranks: a placement made for one window, measured
        in another; the last row is experts in order. None if ranks do not divide the experts.
    phases
        The same for prefill and decode, or None.
    ranks
        Ranks of these placements.
    """

    name: str
    tokens: int
    num_experts: int
    top_k: int
    layer_ids: tuple[int, ...]
    model: str | None
    rows: tuple[Row, ...]
    insights: tuple[Insight, ...]
    left_out: tuple[int, ...]
    windows: tuple[tuple[float, ...], ...] | None
    phases: tuple[tuple[float, ...], ...] | None
    ranks: int

    def value(self, key: str) -> float:
        """Return a figure by its key."""
        return next(row.measure.value for row in self.rows if row.measure.key == key)

    def as_dict(self) -> dict[str, Any]:
        """Return the values by name, fit for JSON."""
        return {"schema": "moeplace.insights/1", **dataclasses.asdict(self)}


def trace_insights(
    trace: Trace, *, phase: str | None = None, ranks: int = RANKS, windows: int = 8
) -> Insights:
    """Measure a trace as the paper measures its own.

    Parameters
    ----------
    trace
        Any trace, in memory or stored; it is read once.
    phase
        Tokens of one phase only.
    ranks
        Ranks for the placements that windows and phases are compared by.
    windows
        Stretches of the trace.

    Raises
    ------
    InputError
        If the trace is empty or corrupt.
    """
    return insights_of(tally_trace(trace, phase=phase, windows=windows), ranks=ranks)


def insights_of(tally: Tally, *, ranks: int = RANKS) -> Insights:
    """Return the insights of a tally; see `trace_insights`."""
    model = _paper_model(tally)
    odd = odd_layers(tally)
    keep = [row for row in range(tally.num_layers) if row not in odd] or list(
        range(tally.num_layers)
    )
    windows = phases = None
    if tally.num_experts % ranks == 0:
        windows = _matrix(transfer_matrix(tally.window_load[:, keep], ranks))
        if tally.phase_load is not None and tally.phase_load.any(axis=(1, 2)).all():
            phases = _matrix(transfer_matrix(tally.phase_load[:, keep], ranks))
    rows = tuple(_row(found, model) for found in measure(tally))
    by_key = {row.measure.key: row.measure for row in rows}
    return Insights(
        name=tally.name,
        tokens=tally.tokens,
        num_experts=tally.num_experts,
        top_k=tally.top_k,
        layer_ids=tally.layer_ids,
        model=model,
        rows=rows,
        insights=_six(by_key, phases, windows, ranks),
        left_out=tuple(tally.layer_ids[row] for row in odd) if len(odd) < tally.num_layers else (),
        windows=windows,
        phases=phases,
        ranks=ranks,
    )


def _matrix(table: Any) -> tuple[tuple[float, ...], ...]:
    return tuple(tuple(float(v) for v in row) for row in np.asarray(table))


@cache
def _paper() -> dict[str, Any]:
    import yaml

    text = (Path(__file__).parent / "paper.yaml").read_text(encoding="utf-8")
    content: dict[str, Any] = yaml.safe_load(text)
    return content


def _paper_model(tally: Tally) -> str | None:
    for name, model in _paper()["models"].items():
        if (model["experts"], model["top_k"]) == (tally.num_experts, tally.top_k):
            return str(name)
    return None


def _row(found: Measure, model: str | None) -> Row:
    figure = _paper()["figures"].get(found.key, {})
    ranges = {name: f"{low:g}–{high:g}" for name, (low, high) in figure.get("ranges", {}).items()}
    values = {name: f"{value:g}" for name, value in figure.get("values", {}).items()}
    known = {name: text for name, text in (values | ranges).items() if model in (None, name)}
    return Row(found, known, figure.get("source", "") if known else "")


def _six(
    found: Mapping[str, Measure],
    phases: tuple[tuple[float, ...], ...] | None,
    windows: tuple[tuple[float, ...], ...] | None,
    ranks: int,
) -> tuple[Insight, ...]:
    return (
        _prefill(found, phases, ranks),
        _hierarchy(found),
        _aware(found, windows, ranks),
        _popular(found),
        _separate(found),
        _workload(found),
    )


def _prefill(
    found: Mapping[str, Measure], phases: tuple[tuple[float, ...], ...] | None, ranks: int
) -> Insight:
    title = "Prefill predicts decode"
    if "phase_load_correlation" not in found:
        return Insight(1, title, "not told", "The trace does not record both phases.")
    rho = found["phase_load_correlation"].value
    text = f"Loads of prefill and decode correlate at {rho:.2f} (Spearman, mean over layers)"
    if phases is None:
        verdict = "for" if rho >= STRONG_CORRELATION else "against"
        return Insight(1, title, verdict, text + ".")
    (_, guided), (_, oracle), (_, order) = phases
    kept = (order - guided) / (order - oracle) if order > oracle else 0.0
    verdict = "for" if kept >= GOOD_TRANSFER else "against"
    return Insight(
        1,
        title,
        verdict,
        f"{text}. On {ranks} ranks a placement made from prefill has a max/mean load of "
        f"{guided:.2f} in decode; experts in order {order:.2f}, made from decode itself "
        f"{oracle:.2f}: {kept:.0%} of what can be gained.",
    )


def _hierarchy(found: Mapping[str, Measure]) -> Insight:
    title = "Layers for the near memory, tokens for the far"
    layer, token = (found.get(f"{kind}_coverage_held_out") for kind in ("layer", "token"))
    both = [(name, m) for name, m in (("layer", layer), ("token", token)) if m is not None]
    if not both:
        return Insight(2, title, "not told", "One layer and no requests: nothing follows another.")
    gains = [m.value / max(m.baseline or 1.0, 1e-9) for _, m in both]
    text = "; ".join(
        f"lists of 20 % of the experts, made on other requests, cover {m.value:.0%} of the next "
        f"{name}'s choices, the most popular 20 % alone {m.baseline or 0.0:.0%}"
        for name, m in both
    )
    verdict = "for" if min(gains) >= CLEARLY_MORE else "against"
    return Insight(2, title, verdict, text[0].upper() + text[1:] + ".")


def _aware(
    found: Mapping[str, Measure], windows: tuple[tuple[float, ...], ...] | None, ranks: int
) -> Insight:
    title = "Give work where the experts lie"
    if windows is None:
        return Insight(3, title, "not told", f"{ranks} ranks do not divide the experts.")
    count = len(windows[0])
    off = [windows[a][b] for a in range(count) for b in range(count) if a != b]
    own = float(np.mean([windows[a][a] for a in range(count)]))
    order = float(np.mean(windows[-1]))
    moved = float(np.mean(off)) if off else own
    kept = (order - moved) / (order - own) if order > own else 0.0
    return Insight(
        3,
        title,
        "for" if kept >= GOOD_TRANSFER else "against",
        f"Where experts lie decides: on {ranks} ranks max/mean load is {order:.2f} in order and "
        f"{own:.2f} when made for the window; a placement of another window keeps "
        f"{moved:.2f}, {kept:.0%} of the gain"
        + (
            f"; loads drift by {found['drift_step'].value:.3f} bits a window."
            if "drift_step" in found
            else "."
        ),
    )


def _popular(found: Mapping[str, Measure]) -> Insight:
    skew, tenth = found["skew_mean"].value, found["top_tenth"].value
    return Insight(
        4,
        "Spread the popular experts",
        "for" if skew >= SKEWED else "against",
        f"The hottest expert of a layer has {skew:.1f} times the mean load "
        f"({found['skew'].value:.1f} in the worst layer), the hottest 10 % carry {tenth:.0%}.",
    )


def _separate(found: Mapping[str, Measure]) -> Insight:
    title = "Keep co-activated pairs apart"
    if "pair_share_10" not in found:
        return Insight(5, title, "not told", "Each token uses one expert: there are no pairs.")
    share = found["pair_share_10"]
    chance = share.baseline or 0.0
    return Insight(
        5,
        title,
        "for" if share.value >= CLEARLY_MORE * chance else "against",
        f"The top 10 % of pairs hold {share.value:.0%} of all co-activations, experts that were "
        f"independent {chance:.0%}; the most frequent pair is "
        f"{found['pair_brightness'].value:.0f} times an even share. Apart they work in parallel, "
        "together they save copies: the cost model decides, not the pair.",
    )


def _workload(found: Mapping[str, Measure]) -> Insight:
    title = "Know the workload"
    if "domain_variation" not in found:
        return Insight(6, title, "not told", "The trace records fewer than two domains.")
    moved = found["domain_variation"].value
    return Insight(
        6,
        title,
        "for" if moved >= SHIFTED else "against",
        f"Between two domains {moved:.0%} of the load moves to other experts; "
        f"{found['hot_everywhere'].value:.1f} of the top 10 experts are hot in every domain.",
    )
