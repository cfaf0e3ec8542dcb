"""A comparison as people read it; every number comes from the JSON document."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from moeplace.cli.output import Output

MOST_COLUMNS = 6  # solvers beside each other in the table of instances


def draw_comparison(document: Mapping[str, Any], measure: str, out: Output) -> None:
    """Print a comparison: one problem in detail, or many with sums and a profile."""
    single = len(document["instances"]) == 1
    if single:
        draw_single(document, out)
    else:
        _draw_instances(document, out)
    if single and len(document["seeds"]) == 1:
        return
    out.line()
    _draw_summary(document, out)
    if not single:
        out.line()
        _draw_profile(document, measure, out)
        _errors(document["rows"], out)


def draw_single(document: Mapping[str, Any], out: Output) -> None:
    """Print the runs on one problem."""
    from moeplace.cli.result_view import draw_headline, gap_text, objective_text

    problem = document["problem"]
    name, layers = problem["objective"], problem["layers"]
    scale = 1e6 / layers if name == "time" else 1 / layers
    several = len(document["seeds"]) > 1
    draw_headline(problem, out)
    out.line()
    headers = (
        "solver",
        *(("seed",) if several else ()),
        "layer time\nµs" if name == "time" else f"{name}\na layer",
        "gap",
        "balanc-\nedness",
        "took\ns",
        "status",
        "layers with\nduplicates",
    )
    out.table(
        headers,
        [
            (
                row["solver"],
                *((str(row["seed"]),) if several else ()),
                "–" if row["value"] is None else f"{row['value'] * scale:,.1f}",
                "–" if row["gap"] is None else gap_text(row["gap"]),
                "–" if row["balancedness"] is None else f"{row['balancedness']:.3f}",
                _seconds(row["runtime_s"]),
                row["status"],
                str(row["layers_with_duplicates"] or ""),
            )
            for row in document["rows"]
        ],
        left=(0, len(headers) - 2),
    )
    out.line()
    out.line(
        f"lower bound {objective_text(name, document['lower_bound'], layers)} "
        f"({document['bound']['method']})"
    )
    _errors(document["rows"], out)


def _errors(rows: Sequence[Mapping[str, Any]], out: Output) -> None:
    told = dict.fromkeys(f"{row['solver']}: {row['error']}" for row in rows if row["error"])
    for text in told:
        out.line(text)


def _draw_instances(document: Mapping[str, Any], out: Output) -> None:
    """Print the gaps of every solver on every instance, means over the seeds."""
    solvers = [line["solver"] for line in document["summary"]]
    shown = solvers if len(solvers) <= MOST_COLUMNS else []
    lines = []
    for case in document["instances"]:
        rows = [row for row in document["rows"] if row["instance"] == case["name"]]
        cells = [_mean_gap([r for r in rows if r["solver"] == solver]) for solver in shown]
        least = min((r["gap"] for r in rows if r["keeps_rules"]), default=None)
        lines.append((case["name"], _percent(least), *cells))
    out.line("gap to the proven bound, mean over the seeds", bold=True)
    out.table(("instance", "best\nof all", *(_broken(name) for name in shown)), lines)


def _mean_gap(rows: Sequence[Mapping[str, Any]]) -> str:
    gaps = [row["gap"] for row in rows if row["keeps_rules"] and row["gap"] is not None]
    return _percent(sum(gaps) / len(gaps)) if gaps and len(gaps) == len(rows) else "–"


def _draw_summary(document: Mapping[str, Any], out: Output) -> None:
    instances, seeds = len(document["instances"]), len(document["seeds"])
    limit = document["time_limit_s"]
    plural = "s" if instances > 1 else ""
    words = f"{instances} instance{plural}, {seeds} seed{'s' if seeds > 1 else ''}"
    out.line(words + ("" if limit is None else f", {limit:g} s a run"), bold=True)
    out.table(
        ("solver", "runs\nsolved", "proven\noptimal", "mean\ngap", "worst\ngap", "wins", "mean\ns"),
        [
            (
                line["solver"],
                f"{line['solved']}/{line['runs']}",
                str(line["optimal"]),
                _percent(line["mean_gap"]),
                _percent(line["worst_gap"]),
                str(line["wins"]),
                _seconds(line["mean_runtime_s"]),
            )
            for line in document["summary"]
        ],
    )


def _draw_profile(document: Mapping[str, Any], measure: str, out: Output) -> None:
    profile = next(one for one in document["profiles"] if one["measure"] == measure)
    what = "value" if measure == "value" else "seconds to within 1 % of the best value"
    out.line(f"share of the runs whose {what} is within a factor of the best solver's", bold=True)
    out.table(
        ("solver", *(f"{factor:g}" for factor in profile["factors"])),
        [(name, *(f"{x:.2f}" for x in shares)) for name, shares in profile["share"].items()],
    )


def _broken(name: str) -> str:
    """Return a solver's name on two lines where it is long."""
    head, dash, tail = name.partition("-")
    return f"{head}{dash}\n{tail}" if dash and len(name) > 8 else name


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{share:.2%}"


def _seconds(seconds: float | None) -> str:
    return "–" if seconds is None else f"{seconds:.1f}"
