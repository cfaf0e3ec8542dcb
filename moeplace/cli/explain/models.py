"""Sentences about models of hardware: the wafer, and errors against measurements."""

from __future__ import annotations

from statistics import median
from typing import TYPE_CHECKING, Any

from moeplace.cli.explain.words import percent, sentence, times

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

FEWEST = 20  # points of a kernel that is called worst


def explain_wafer(document: Mapping[str, Any]) -> list[str]:
    """Return two sentences about strategies: why the best is best, and what is left."""
    rows = {row["strategy"]: row for row in document["rows"]}
    best = max(rows.values(), key=lambda row: row["throughput_tokens_per_s"])
    worst = min(rows.values(), key=lambda row: row["throughput_tokens_per_s"])
    name = best["strategy"]
    if best is worst:
        first = f"only {name} was run; it moves {_terabytes(best)} between dies"
    else:
        ratio = best["throughput_tokens_per_s"] / worst["throughput_tokens_per_s"]
        first = (
            f"the best strategy is {name}, {times(ratio)} times {worst['strategy']}: it moves "
            f"{_terabytes(best)} of weights and tokens between dies instead of {_terabytes(worst)}"
        )
    bound, reached = document["bound_tokens_per_s"], best["of_bound"]
    second = f"it reaches {percent(reached)} of {bound:,.0f} tokens/s, which no strategy exceeds"
    if best["hbm_bytes"] > 0 and best["d2d_bytes"] == 0:
        second += "; no weight crosses a link, so that what is left is uneven dies"
    elif best["copies"]:
        second += f"; {best['copies']:,} copies of weights were placed to get there"
    return [sentence(first), sentence(second)]


def _terabytes(row: Mapping[str, Any]) -> str:
    return f"{row['d2d_bytes'] / 1e12:.3g} TB"


def explain_validation(document: Mapping[str, Any]) -> list[str]:
    """Return two sentences about errors: how large on unseen points, where and which way."""
    rows = document["rows"]
    held = [row for row in rows if row["role"] == "held out"]
    fitted = [row for row in rows if row["role"] == "fitted"]
    counted = held or fitted or rows
    if not counted:
        return ["There is no point to compare with."]
    what = "points whose group the constants never saw" if held else "the points"
    error = _median(counted)
    first = f"the model is off by {percent(error)} in the median on {len(counted):,} {what}"
    if held and fitted:
        first += (
            f" and by {percent(_median(fitted))} where it was fitted, so that "
            f"{'it carries over' if error <= 2 * _median(fitted) else 'it carries over badly'}"
        )
    groups: dict[str, list[Mapping[str, Any]]] = {}
    for row in counted:
        groups.setdefault(row["kernel"], []).append(row)
    large = {name: rows for name, rows in groups.items() if len(rows) >= FEWEST} or groups
    worst = max(large, key=lambda name: _median(large[name]))
    bias = median(row["bias"] for row in counted)
    way = "too slow" if bias > 0 else "too fast"
    second = (
        f"the worst prediction is that of {worst} ({percent(_median(large[worst]))} in the median)"
    )
    lean = "errors go both ways" if abs(bias) < 0.005 else f"times come out {percent(abs(bias))} "
    second += f"; {lean}{'' if abs(bias) < 0.005 else way + ' in the median'}"
    return [sentence(first), sentence(second)]


def _median(rows: Sequence[Mapping[str, Any]]) -> float:
    return float(median(abs(row["ape"]) for row in rows))
