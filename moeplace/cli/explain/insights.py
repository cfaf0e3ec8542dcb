"""Sentences about a trace: what a placement can gain from it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from moeplace.cli.explain.words import counted, listed, percent, sentence, times

if TYPE_CHECKING:
    from collections.abc import Mapping

VERBS = {  # of one insight and of several
    "for": ("holds here", "hold here"),
    "against": ("does not", "do not"),
    "not told": ("cannot be told", "cannot be told"),
}
LASTS = 0.5  # share of the gain that a map of another window has to keep


def explain_insights(document: Mapping[str, Any]) -> list[str]:
    """Return two sentences: which insights hold, and what placement gains for how long."""
    by_verdict: dict[str, list[str]] = {}
    for insight in document["insights"]:
        by_verdict.setdefault(insight["verdict"], []).append(str(insight["number"]))
    parts = [
        f"insight{'s' if len(numbers) > 1 else ''} {listed(numbers)} {verbs[len(numbers) > 1]}"
        for verdict, verbs in VERBS.items()
        if (numbers := by_verdict.get(verdict))
    ]
    values = {row["measure"]["key"]: row["measure"]["value"] for row in document["rows"]}
    first = "; ".join(parts) or "nothing can be told"
    if "skew_mean" in values:
        first += f"; the hottest expert of a layer has {times(values['skew_mean'])} mean loads"
    windows = document["windows"]
    if windows is None or len(windows[0]) < 2:
        return [sentence(first), "One window does not tell for how long a placement stays good."]
    count = len(windows[0])
    own = sum(windows[i][i] for i in range(count)) / count
    other = sum(windows[i][j] for i in range(count) for j in range(count) if i != j)
    other /= count * (count - 1)
    plain = sum(windows[count]) / count
    kept = (plain - other) / (plain - own) if plain > own else 0.0
    second = (
        "placing experts by their loads lowers max/mean load on "
        f"{counted(document['ranks'], 'rank')} from {times(plain)} to {times(own)}, and a map of "
        f"another window keeps {percent(max(0.0, kept))} of that: "
    )
    second += "one map lasts" if kept >= LASTS else "maps age, see `moeplace replay`"
    return [sentence(first), sentence(second)]
