"""`moeplace hw import`: systems described for other tools."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from moeplace.cli.options import QuietOption
from moeplace.cli.output import Format, Output


def import_(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="YAML or JSON.")],
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", metavar="FILE.yaml", help="System file; default: stdout."),
    ] = None,
    base: Annotated[
        str, typer.Option(metavar="NAME", help="System that fills what the file does not say.")
    ] = "h100-sxm",
    quiet: QuietOption = False,
) -> None:
    """Turn an aiconfigurator, ASTRA-sim or InfraGraph description into a system file.

    Example: moeplace hw import h100_sxm.yaml -o my-h100.yaml
    """
    import yaml

    from moeplace.files import atomic_write
    from moeplace.hwmodels.importers import import_system

    out = Output(Format.table, quiet)
    content, origin = import_system(file, base)
    text = yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=100)
    out.note(f"read as {origin}; figures it does not have are those of {base}, marked assumed")
    if output is None:
        print(text, end="")
        return
    with atomic_write(output) as target:
        target.write(text)
    out.note(f"wrote {output}; use it with --hw {output}")
