"""`moeplace rerun`: a run folder's command again, and whether it gives the same."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from moeplace.cli.options import OUTPUT, FormatOption, QuietOption
from moeplace.cli.output import Format, Output
from moeplace.errors import CheckFailedError


def rerun(
    context: typer.Context,
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Folder that --run-dir made.")],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="NEWDIR",
            help="Keep the new run in this folder; default: it is compared and forgotten.",
            rich_help_panel=OUTPUT,
        ),
    ] = None,
    ignore_changes: Annotated[
        bool,
        typer.Option("--ignore-changes", help="Go on although input files have changed."),
    ] = False,
    format: FormatOption = Format.table,
    quiet: QuietOption = False,
) -> None:
    """Run the command of a run folder again and compare what comes out.

    The options are those that held then; configuration files and variables
    change nothing. Leaves with 7 if an input has changed, or an output
    differs: placements bit by bit, documents but for the times and paths that
    the answer names.

    Example: moeplace rerun RUN
    """
    import tempfile

    from moeplace.cli.runs.again import refuse_changes, run_again
    from moeplace.cli.runs.differences import IGNORED, compared_files, run_differences
    from moeplace.cli.runs.files import changed_files
    from moeplace.cli.runs.manifest import machine, read_manifest, versions

    out = Output(format, quiet)
    manifest = read_manifest(run)
    folder = run if run.is_dir() else run.parent
    working = Path(manifest["working_folder"])
    changed = changed_files(manifest["inputs"], working if working.is_dir() else Path.cwd())
    if not ignore_changes:
        refuse_changes(changed, run)
    for told in [*changed, *_others(manifest, versions(), machine())]:
        out.note(told)
    with tempfile.TemporaryDirectory() as temporary:
        new = Path(temporary, "run") if output is None else output.absolute()
        run_again(context.find_root().command, manifest, run, new)
        again = read_manifest(new)
        found = run_differences(folder, manifest, new, again)
    compared = compared_files(manifest)
    document: dict[str, Any] = {
        "schema": "moeplace.rerun/1",
        "run": str(run),
        "new": None if output is None else str(output),
        "command_line": manifest["command_line"],
        "repeatable": manifest["repeatable"],
        "compared": compared,
        "ignored": list(IGNORED),
        "changed_inputs": changed,
        "identical": not found,
        "differences": found,
    }
    rows = [{"run": str(run), "identical": not found, "differences": "; ".join(found)}]

    def draw() -> None:
        if not found:
            out.line(f"identical: {', '.join(compared)}")
        for text in found:
            out.line(text)
        out.line(f"not compared: {', '.join(IGNORED)}")

    out.show(document, rows, draw)
    if found:
        why = manifest["repeatable"]["why"]
        because = "" if why is None else f" (it cannot be repeated exactly: {why})"
        raise CheckFailedError(f"{run}: {found[0]}{because}")


def _others(manifest: dict[str, Any], now: dict[str, str], here: dict[str, Any]) -> list[str]:
    """Return what is another version or machine than it was."""
    told = [
        f"{name} was {old}, is {now.get(name, 'missing')}"
        for name, old in manifest["versions"].items()
        if now.get(name) != old
    ]
    then = manifest["platform"]
    told += [
        f"{key} was {then.get(key)}, is {here[key]}"
        for key in ("machine", "processor")
        if then.get(key) != here[key]
    ]
    return told
