"""Every placement known on the problem, with its distance from the proven bound."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from moeplace.cli.report.bars import stacked
from moeplace.cli.report.gather import label_of
from moeplace.cli.report.markup import Html, tag
from moeplace.cli.report.sections import DASH, section
from moeplace.cli.report.tables import Cell, Column, table
from moeplace.cli.report.words import percent, value_text
from moeplace.formulations.result import relative_gap

if TYPE_CHECKING:
    from moeplace.cli.report.gather import Gathered


def comparison_rows(gathered: Gathered) -> list[dict[str, Any]]:
    """Return solver, value, gap and more, for the baselines, the result and given comparisons."""
    bound = gathered.document["objective"]["lower_bound"]
    rows: list[dict[str, Any]] = [
        {
            "solver": label_of(key, gathered.document),
            "value": score.objective,
            "balancedness": score.balancedness,
            "runtime_s": None,
            "status": "baseline",
            "ours": False,
        }
        for key, score in gathered.baselines.items()
    ]
    evaluated = gathered.document["solver"] == "evaluate"
    rows.append(
        {
            "solver": gathered.found.label,
            "value": gathered.found.score.objective,
            "balancedness": gathered.found.score.balancedness,
            "runtime_s": None if evaluated else gathered.document["runtime_s"],
            "status": gathered.document["status"],
            "ours": True,
        }
    )
    for comparison in gathered.comparisons:
        rows += [
            {
                "solver": f"{row['solver']} (seed {row['seed']})",
                "value": row["value"],
                "balancedness": row["balancedness"],
                "runtime_s": row["runtime_s"],
                "status": row["status"],
                "ours": False,
            }
            for row in comparison["rows"]
            if row["value"] is not None
        ]
    for row in rows:
        row["gap"] = relative_gap(float(row["value"]), bound)
    return rows


def comparison_section(gathered: Gathered) -> Html:
    """Return every heuristic with its distance from the proven bound."""
    name = gathered.problem.objective
    rows = comparison_rows(gathered)
    most = max((row["gap"] or 0.0 for row in rows), default=0.0)
    columns = (
        Column("placement"),
        Column("time" if name == "time" else name, "number"),
        Column("distance from the bound", "picture"),
        Column("gap", "number"),
        Column("balancedness", "number"),
        Column("took", "number"),
        Column("status"),
    )
    body = [
        [
            row["solver"],
            Cell(value_text(name, row["value"]), row["value"]),
            DASH if row["gap"] is None else stacked([("compute", row["gap"])], most),
            Cell(DASH if row["gap"] is None else percent(row["gap"]), row["gap"]),
            Cell(DASH if row["balancedness"] is None else f"{row['balancedness']:.3f}",
                 row["balancedness"]),
            Cell(DASH if row["runtime_s"] is None else f"{row['runtime_s']:.1f} s",
                 row["runtime_s"]),
            row["status"],
        ]
        for row in rows
    ]  # fmt: skip
    strong = [number for number, row in enumerate(rows) if row["ours"]]
    content = table("Every placement with its gap to the proven bound", columns, body,
                    identifier="compared", strong=strong)  # fmt: skip
    hint = None
    if not gathered.comparisons:
        hint = tag(
            "p",
            "More solvers: give the file of ",
            tag("code", "moeplace compare … -o compare.json"),
            " after the result.",
            class_="soft",
        )
    return section(
        "against", "Against the proven bound",
        tag("p", "The gap says how much better any placement could be at most: "
            "(value − bound) / value.", class_="soft"),
        content, hint,
    )  # fmt: skip
