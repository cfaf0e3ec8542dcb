"""`moeplace doctor`."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from moeplace.cli.options import FormatOption
from moeplace.cli.output import Format, Output
from moeplace.errors import CheckFailedError


def doctor(
    json: Annotated[bool, typer.Option("--json", help="The same as --format json.")] = False,
    format: FormatOption = Format.table,
) -> None:
    """Check the installation: versions, solver backends, extras, cache, data, machine.

    Leaves with 7 if something that moeplace needs is missing or does not
    work; what is optional only says what it would give.

    Example: moeplace doctor --json
    """
    from moeplace.cli.installation import examine

    out = Output(Format.json if json else format)
    rows = [one.row() for one in examine()]
    broken = [row["check"] for row in rows if row["status"] == "BAD"]
    document: dict[str, Any] = {"schema": "moeplace.doctor/1", "ok": not broken}
    for row in rows:
        part = document.setdefault(row["part"], {})
        part[row["check"]] = {
            key: value for key, value in row.items() if key not in ("part", "check")
        }
    out.show(
        document,
        rows,
        lambda: out.table(
            ("check", "", "found"),
            [(row["check"], row["status"], row["found"]) for row in rows],
            left=(0, 1, 2),
        ),
    )
    if broken:
        raise CheckFailedError(f"broken installation: {', '.join(broken)}")
