"""Parts of the page that need no script: headline, comparison, sensitivities, provenance."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from moeplace.cli.report.bars import around_zero, stacked
from moeplace.cli.report.gather import label_of
from moeplace.cli.report.markup import Html, join, tag
from moeplace.cli.report.tables import Cell, Column, table
from moeplace.cli.report.words import (
    NB,
    TERMS,
    headline,
    milliseconds,
    percent,
    where_time_goes,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from moeplace.cli.report.gather import Gathered
    from moeplace.cli.report.sensitivity import Effect

DASH = "–"


def section(identifier: str, title: str, *content: object) -> Html:
    """Return a landmark with a heading."""
    return tag(
        "section",
        tag("h2", title, id=f"h-{identifier}"),
        *content,
        id=identifier,
        aria_labelledby=f"h-{identifier}",
    )


def headline_section(gathered: Gathered) -> Html:
    """Return the figure that counts, what it means, and the baselines beside it."""
    objective, score = gathered.document["objective"], gathered.found.score
    gap = objective["gap"]
    figures = [
        ("step time", milliseconds(score.step_time_s)),
        ("gap to the proven bound", DASH if gap is None else percent(gap)),
        ("balancedness", f"{score.balancedness:.3f}"),
    ]
    if objective["name"] != "time":
        figures.insert(0, (objective["name"], f"{objective['value']:,.0f}"))
    lines = headline(gathered)
    return tag(
        "section",
        tag("h2", "In short", id="h-short", class_="unseen"),
        tag("p", " ".join(lines), class_="lead"),
        tag(
            "dl",
            *(tag("div", tag("dt", name), tag("dd", text)) for name, text in figures),
            class_="figures",
        ),
        _short_table(gathered),
        tag("p", where_time_goes(gathered), " ", _duplicates(gathered), class_="soft"),
        _elsewhere(gathered.document),
        id="short",
        aria_labelledby="h-short",
    )


def _duplicates(gathered: Gathered) -> str:
    layers = gathered.problem.num_layers
    told = [
        f"{label_of(name, gathered.document)} holds an expert twice on a rank in {count} of "
        f"{layers} layers."
        for name, count in gathered.document["layers_with_duplicates"].items()
        if count
    ]
    return " ".join(told)


def _short_table(gathered: Gathered) -> Html:
    """Draw contiguous, random, EPLB and the placement as bars of their terms, with the bound."""
    document = gathered.document
    scores = {label_of(key, document): score for key, score in gathered.baselines.items()}
    scores[gathered.found.label] = gathered.found.score
    bound = document["objective"]["lower_bound"] if gathered.problem.objective == "time" else None
    most = max(score.step_time_s for score in scores.values())
    rows = [
        [
            name,
            stacked([(term, getattr(score, f"{term}_s")) for term in TERMS], most, bound),
            Cell(milliseconds(score.step_time_s), score.step_time_s),
            *(Cell(milliseconds(v), v) for v in (getattr(score, f"{t}_s") for t in TERMS)),
        ]
        for name, score in scores.items()
    ]
    if bound is not None:
        rows.append(
            [
                "proven bound",
                stacked([], most, bound),
                Cell(milliseconds(bound), bound),
                *(_bound_term(document, term) for term in TERMS),
            ]
        )
    columns = (
        Column("placement"),
        Column("time of a step", "picture"),
        Column("step", "number"),
        *(Column(term, "number") for term in TERMS),
    )
    legend = tag(
        "p",
        *(
            tag("span", tag("span", class_=f"key {term}", aria_hidden="true"), term)
            for term in TERMS
        ),
        tag("span", tag("span", class_="key mark", aria_hidden="true"), "proven bound")
        if bound is not None
        else None,
        class_="legend",
    )
    shown = table(
        "Time of a step by term", columns, rows, strong=(len(scores) - 1,), hidden_caption=True
    )
    return join(shown, legend)


def _elsewhere(document: Mapping[str, Any]) -> Html | None:
    """Return the same maps in the other phase, in each scenario, and on the part held out."""
    rows = []
    phase = document["problem"]["phase"]
    for other, baselines in document["baselines_by_phase"].items():
        if other != phase:
            rows.append((other, {**baselines, "result": document["scores_by_phase"][other]}))
    if (held := document["holdout"]) is not None:
        said = (
            "a file"
            if held["by"] == "file"
            else f"{100 * held['fraction']:.0f}{NB}% of the {held['by']}s"
        )
        rows.append((f"held out: {said}", {**held["baselines"], "result": held["score"]}))
    if not rows:
        return None
    names = list(rows[0][1])
    columns = [
        Column("the same maps in"),
        *(Column(label_of(n, document), "number") for n in names),
    ]
    body = [
        [where, *(Cell(milliseconds(scores[n]["step_time_s"]), scores[n]["step_time_s"])
                  for n in names)]
        for where, scores in rows
    ]  # fmt: skip
    return table("The same maps elsewhere, time of a step", columns, body, hidden_caption=True)


def _bound_term(document: Mapping[str, Any], term: str) -> Cell:
    value = document["objective"]["bound"]["terms"].get(f"{term}_s")
    return Cell(DASH) if value is None else Cell(milliseconds(value), value)


def help_section(effects: Sequence[Effect]) -> Html:
    """Return what each change would bring, from the model."""
    known = [abs(effect.per_token) for effect in effects if effect.per_token is not None]
    most = max(known, default=0.0)
    columns = (
        Column("change"),
        Column("less time ← → more time", "picture"),
        Column("time per token", "number"),
        Column("step", "number"),
        Column("how"),
    )
    body = []
    for effect in sorted(effects, key=lambda e: 9.0 if e.per_token is None else e.per_token):
        change = effect.per_token
        body.append(
            [
                effect.change,
                DASH if change is None else around_zero(change, most),
                Cell(DASH if change is None else _signed(change), change),
                Cell(DASH, None)
                if effect.step_time_s is None
                else Cell(milliseconds(effect.step_time_s), effect.step_time_s),
                effect.note or "scored again",
            ]
        )
    return section(
        "help",
        "What would help next",
        tag(
            "p",
            "One change at a time, worked out with the same model. The placement stays and is "
            "scored again, unless it says that one was searched for. Constants get a tenth better: "
            "what counts is where the time hangs.",
            class_="soft",
        ),
        table("Effect of each change", columns, body, identifier="effects"),
    )


def _signed(change: float) -> str:
    if abs(change) < 5e-5:
        return f"0.0{NB}%"
    text = percent(abs(change))
    return f"−{text}" if change < 0 else f"+{text}"
