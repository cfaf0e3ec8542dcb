"""Sentences about things side by side: solvers, points of a sweep, pools."""

from __future__ import annotations

from statistics import geometric_mean
from typing import TYPE_CHECKING, Any

from moeplace.cli.explain.result import OPTIMAL_GAP
from moeplace.cli.explain.words import counted, listed, percent, sentence, times

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

NEAR = 0.01  # values this close to the best are as good for a first look
MOST_NAMES = 4  # of solvers in a sentence
SAME = 0.0005
BASELINES = ("contiguous", "random", "eplb", "eplb-global", "eplb-hierarchical", "round-robin")
AXES = {
    "model": "the model",
    "hw": "the system",
    "ranks": "the number of ranks",
    "phase": "the phase",
    "tokens_per_rank": "tokens a rank",
    "redundant": "redundant experts",
    "link_GBps": "link speed",
    "nic_GBps": "network speed",
}
TERMS = ("dispatch", "compute", "combine")


def explain_comparison(document: Mapping[str, Any]) -> list[str]:
    """Return two sentences about solvers on one problem or on many."""
    if len(document["instances"]) > 1:
        return _many(document)
    rows = [row for row in document["rows"] if row["keeps_rules"] and row["value"] is not None]
    if not rows:
        return ["No solver found a placement that keeps the rules."]
    best = min(rows, key=lambda row: row["value"])
    others = [row for row in rows if row["solver"] in BASELINES]
    others = [] if best["solver"] in BASELINES else others
    first = f"the best value here is that of {best['solver']}"
    if others:
        rival = min(others, key=lambda row: row["value"])
        saved = 1 - best["value"] / rival["value"] if rival["value"] else 0.0
        beaten = f"{percent(saved)} below" if saved >= SAME else "no better than"
        first += f", {beaten} the best baseline, {rival['solver']}"
    near = [
        row["solver"]
        for row in sorted(rows, key=lambda row: row["value"])
        if row is not best and row["value"] <= best["value"] * (1 + NEAR)
    ]
    if near:
        shown = listed(list(dict.fromkeys(near))[:MOST_NAMES])
        first += f"; within {percent(NEAR)} of it: {shown}"
    return [sentence(first), sentence(_room(best["gap"], rows))]


def _room(gap: float | None, rows: Sequence[Mapping[str, Any]]) -> str:
    if gap is None:
        return "no bound is known, so nobody can say what is left to gain"
    if gap <= OPTIMAL_GAP:
        reached = listed(sorted({r["solver"] for r in rows if (r["gap"] or 0) <= OPTIMAL_GAP}))
        return f"that is proven optimal, and reached by {reached}"
    worst = max(rows, key=lambda row: row["value"])
    least = min(row["value"] for row in rows)
    spread = worst["value"] / least - 1 if least else 0.0
    text = f"no placement can be more than {percent(gap)} better"
    if spread < SAME:
        return f"{text}, and the solvers do not differ"
    word = "more" if spread > gap else "less"
    return (
        f"{text}; {worst['solver']} is last, {percent(spread)} above the best, {word} than is left "
        "to gain"
    )


def _many(document: Mapping[str, Any]) -> list[str]:
    summary = [line for line in document["summary"] if line["mean_gap"] is not None]
    if not summary:
        return ["No solver has a gap on every run, so that none can be called best."]
    best = min(summary, key=lambda line: (-line["solved"], line["mean_gap"]))
    proven = {
        row["instance"]
        for row in document["rows"]
        if row["keeps_rules"] and row["gap"] is not None and row["gap"] <= OPTIMAL_GAP
    }
    first = (
        f"the least mean gap is that of {best['solver']}, {percent(best['mean_gap'])}, with "
        f"{counted(best['wins'], 'win')} in {counted(best['runs'], 'run')}"
    )
    gaps: dict[str, float] = {}
    for row in document["rows"]:
        if row["keeps_rules"] and row["gap"] is not None:
            gaps[row["instance"]] = min(row["gap"], gaps.get(row["instance"], 1.0))
    second = f"{len(proven)} of {counted(len(document['instances']), 'instance')} are proven"
    if gaps and max(gaps.values()) > OPTIMAL_GAP:
        hardest = max(gaps, key=lambda name: gaps[name])
        second += f"; the hardest is {hardest}, where the best gap is {percent(gaps[hardest])}"
    return [sentence(first), sentence(second)]


def explain_sweep(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return two sentences about the points of a sweep: what matters, what limits the best."""
    fitting = [row for row in rows if row["status"] == "ok"]
    if not fitting:
        return ["Nothing fits: see the reasons of the points."]
    best = min(fitting, key=lambda row: row["layer_us"])
    effects = {name: ratio for name in AXES if (ratio := _effect(fitting, name)) is not None}
    if not effects:
        first = "one point alone says nothing about what matters"
    else:
        ordered = sorted(effects, key=lambda name: -effects[name])
        words = [f"{AXES[name]} by {times(effects[name])}" for name in ordered]
        first = f"the layer time changes most with {words[0]} between its extremes"
        if len(words) > 1:
            first += f", then with {listed(words[1:])}"
    term = max(TERMS, key=lambda name: best[f"{name}_us"])
    share = best[f"{term}_us"] / best["layer_us"] if best["layer_us"] else 0.0
    second = f"at the fastest point, {_where(best, rows)}, {percent(share)} of the time is {term}"
    return [sentence(first), sentence(second + _pays(fitting))]


def _effect(rows: Sequence[Mapping[str, Any]], axis: str) -> float | None:
    """Return the mean ratio of slowest to fastest along one axis, all else equal."""
    others = [name for name in AXES if name != axis]
    groups: dict[tuple[Any, ...], dict[Any, float]] = {}
    for row in rows:
        key = tuple(row[name] for name in others)
        groups.setdefault(key, {})[row[axis]] = row["layer_us"]
    ratios = [max(g.values()) / min(g.values()) for g in groups.values() if len(g) > 1]
    return geometric_mean(ratios) if ratios else None


def _where(best: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> str:
    varied = [name for name in AXES if len({row[name] for row in rows}) > 1]
    return ", ".join(f"{name} {best[name]}" for name in varied) or "the only one"


def _pays(rows: Sequence[Mapping[str, Any]]) -> str:
    """Say whether redundant experts pay where they were varied: against none, all else equal."""
    others = [name for name in AXES if name != "redundant"]
    none = {tuple(r[n] for n in others): r["layer_us"] for r in rows if r["redundant"] == 0}
    gains = [
        1 - row["layer_us"] / none[key]
        for row in rows
        if row["redundant"] and (key := tuple(row[n] for n in others)) in none
    ]
    if not gains:
        return ""
    paying = sum(gain > SAME for gain in gains)
    if paying == 0:
        return "; redundant experts pay nowhere"
    where = "everywhere" if paying == len(gains) else f"at {paying} of {len(gains)} points"
    low, high = (f"{value:.1%}" for value in (min(gains), max(gains)))
    return f"; redundant experts pay {where} ({low} to {high})"


def explain_pools(document: Mapping[str, Any]) -> list[str]:
    """Return two sentences about maps for prefill and decode: what each gains, what they cost."""
    rows = document["rows"]
    gains, sizes = [], []
    for phase in dict.fromkeys(row["phase"] for row in rows):
        here = {row["map"]: row for row in rows if row["phase"] == phase}
        own = here[phase]
        rivals = {name: row for name, row in here.items() if name != phase}
        name = min(rivals, key=lambda key: rivals[key]["step_ms"])
        saved = 1 - own["step_ms"] / rivals[name]["step_ms"]
        verb = "faster" if saved >= 0 else "slower"
        gains.append(f"in {phase} its own map is {percent(abs(saved))} {verb} than the {name} map")
        sizes.append(f"{own['replicas']:,} replicas, balancedness {own['balancedness']:.3f}")
    second = f"the prefill pool holds {sizes[0]}"
    if len(sizes) > 1:
        second += f", the decode pool {sizes[1]}"
    return [sentence(", ".join(gains)), sentence(second)]
