"""`moeplace solvers`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from moeplace.cli.options import FormatOption
from moeplace.cli.output import Format, Output

if TYPE_CHECKING:
    from collections.abc import Mapping


def solvers(format: FormatOption = Format.table) -> None:
    """List the solvers: what they do and which objectives they take.

    Example: moeplace solvers --format json
    """
    from moeplace.formulations.registry import all_solvers

    out = Output(format)
    document: list[dict[str, Any]] = [
        {
            "name": info.name,
            "kind": info.kind,
            "objectives": list(info.objectives),
            "may_duplicate": not info.feasible,
            "backend": info.backend or None,
            "summary": info.summary,
            "reference": info.reference or None,
        }
        for info in all_solvers().values()
    ]
    rows = [{**entry, "objectives": " ".join(entry["objectives"])} for entry in document]
    out.show(document, rows, lambda: _draw(document, out))


def _draw(document: list[dict[str, Any]], out: Output) -> None:
    from moeplace.formulations.solver import ALL_OBJECTIVES

    def what(entry: Mapping[str, Any]) -> str:
        source = f" [{entry['reference']}]" if entry["reference"] else ""
        return f"{entry['summary']}{source}"

    out.table(
        ("solver", "kind", "objectives", "what it does"),
        [
            (
                entry["name"],
                entry["kind"],
                "all"
                if len(entry["objectives"]) == len(ALL_OBJECTIVES)
                else ", ".join(entry["objectives"]),
                what(entry),
            )
            for entry in document
        ],
        left=(0, 1, 2, 3),
    )
