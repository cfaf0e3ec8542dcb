"""`moeplace config` and `moeplace init`: options in a file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from moeplace.cli.options import FormatOption, group
from moeplace.cli.output import Format, Output
from moeplace.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from moeplace.cli.config import Setting

app = group("config", "Options in files: what every option is where the command line is silent.")


@app.command()
def show(
    context: typer.Context,
    command: Annotated[
        list[str] | None,
        typer.Argument(metavar="COMMAND...", help="Command, like solve or trace import."),
    ] = None,
    format: FormatOption = Format.table,
) -> None:
    """Show the value of each option and who says so: a variable, a file, or built in.

    Without a command the table shows only what is set, of all commands; JSON
    and CSV show everything.

    Example: moeplace config show solve
    """
    from moeplace.cli.config import Setting, command_options
    from moeplace.cli.config.settings import BUILT_IN

    out = Output(format)
    root = context.find_root()
    options, settings = command_options(root.command), root.obj
    words = _words(command or [], options)
    found: list[tuple[tuple[str, ...], Any, Setting]] = [
        (each, option, settings.of(each, option.name) or Setting(option.default))
        for each in words
        for option in options[each].values()
    ]
    rows = [
        {
            "command": " ".join(each),
            "option": option.key,
            "value": setting.value,
            "origin": setting.origin,
            "variable": option.variable,
        }
        for each, option, setting in found
    ]
    document = {
        "schema": "moeplace.config/1",
        "files": list(settings.files),
        "options": rows,
    }
    shown = [row for row in rows if command or row["origin"] != BUILT_IN]

    def draw() -> None:
        read = ", ".join(settings.files) or "none; `moeplace init` writes one"
        out.line(f"files: {read}", bold=True)
        if shown and command and len(words) == 1:
            cells = [(f"--{row['option']}", _text(row["value"]), row["origin"]) for row in shown]
            out.table(("option", "value", "from"), cells, left=(0, 1, 2))
        elif shown:
            out.table(("command", "option", "value", "from"), _joined(shown), left=(0, 1, 2, 3))
        if not command:
            out.line(
                f"{len(rows) - len(shown)} options of {len(words)} commands are as built in; "
                "`moeplace config show COMMAND` lists those of one"
            )

    out.show(document, rows, draw)


def init(
    context: typer.Context,
    file: Annotated[
        Path,
        typer.Argument(metavar="FILE", help="Where to write; moeplace.toml is read by itself."),
    ] = Path("moeplace.toml"),
    force: Annotated[bool, typer.Option("--force", help="Replace a file that exists.")] = False,
) -> None:
    """Write a configuration file with every option commented out at its default.

    Example: moeplace init
    """
    from moeplace.cli.config import command_options
    from moeplace.cli.config.template import template
    from moeplace.cli.files import check_writable
    from moeplace.files import atomic_write

    check_writable(file, (".toml",))
    if file.exists() and not force:
        raise InputError(f"{file} exists; give --force to replace it, or another name")
    with atomic_write(file) as opened:
        opened.write(template(command_options(context.find_root().command)))
    Output().note(f"wrote {file}; `moeplace config show` tells what holds")


def _joined(rows: Sequence[dict[str, Any]]) -> list[tuple[str, str, str, str]]:
    """Return a table's cells; what one line of a file says to several commands is one row."""
    commands: dict[tuple[str, str, str], list[str]] = {}
    for row in rows:
        said = (f"--{row['option']}", _text(row["value"]), row["origin"])
        commands.setdefault(said, []).append(row["command"])
    return [
        (names[0] if len(names) == 1 else f"{len(names)} commands", *said)
        for said, names in commands.items()
    ]


def _words(given: list[str], known: Any) -> Sequence[tuple[str, ...]]:
    """Return the commands that the words name: one, all of a group, or all."""
    found = [words for words in known if list(words[: len(given)]) == given]
    if not found:
        from moeplace.errors import unknown_name

        names = [" ".join(words) for words in known]
        raise unknown_name("command", " ".join(given), names, "moeplace --help")
    return found


def _text(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, list):
        return " ".join(map(str, value))
    return str(value).lower() if isinstance(value, bool) else str(value)
