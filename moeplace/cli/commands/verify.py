"""`moeplace verify`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from moeplace.cli.options import FormatOption, QuietOption
from moeplace.cli.output import Format, Output

if TYPE_CHECKING:
    from collections.abc import Mapping


def verify(
    result: Annotated[Path, typer.Argument(metavar="RESULT", help="File of `solve --result`.")],
    format: FormatOption = Format.table,
    quiet: QuietOption = False,
) -> None:
    """Check a result: its rules, its value, and the proof of its bound.

    The problem is made again from the names and files that the result names,
    the placement is scored again, and the bound is worked out from the
    certificate, without the solver. Leaves with 7 if anything does not hold.

    Example: moeplace verify result.json
    """
    from moeplace.cli.progress import Progress

    out = Output(format, quiet)
    with Progress("verify", quiet=quiet):
        from moeplace.cli.verification import checked

        found = checked(result)
    document = found.to_dict()
    out.show(document, document["checks"], lambda: _draw(document, out))
    found.raise_if_broken(str(result))


def _draw(document: Mapping[str, Any], out: Output) -> None:
    rows = [
        (check["name"], "holds" if check["holds"] else "FAILS", check["detail"])
        for check in document["checks"]
    ]
    out.table(("check", "", "found"), rows)
    if document["gap"] is not None:
        out.line(f"gap {document['gap']:.2%}, worked out here")
