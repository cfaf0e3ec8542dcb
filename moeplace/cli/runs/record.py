"""Runs a command while its inputs and outputs are kept in a folder."""

from __future__ import annotations

import re
import shlex
import shutil
import sys
import time
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from moeplace import clock
from moeplace.cli.config.settings import BUILT_IN
from moeplace.cli.output import INTERRUPTED, heard, json_text
from moeplace.cli.runs.files import described, named_files, shown_path
from moeplace.cli.runs.manifest import NAME, SCHEMA, machine, read_manifest, versions
from moeplace.cli.runs.opened import is_data, opened_files
from moeplace.cli.runs.readings import FILE, write_readings
from moeplace.errors import InputError
from moeplace.files import atomic_write

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from moeplace.clock import Readings

# Options that name outputs, and what these are called in the folder.
KEPT = {"output": "placement", "result": "result", "plot": "plot", "profile_plot": "profile"}
STUDY = "runs"  # what `compare -o` writes
# Files that are written although nobody asked, because they are what a run is compared by.
FILLED = {
    ("solve",): ("output", "result"),
    ("compare",): ("output",),
    ("evaluate",): ("result",),
    ("instance", "solve"): ("output", "result"),
}
STORES = ("store",)  # folders of finished runs: a command that is run again does not look there
OF_THE_RUN = ("run_dir", "force")  # say where the run is kept, not what it is
LIMITS = ("time_limit", "bound_time_limit")  # what is found in a time depends on the machine
COLORS = re.compile(r"\x1b\[[0-9;]*m")


def record(
    command: Callable[..., None],
    given: dict[str, Any],
    context: typer.Context,
    folder: Path,
    *,
    force: bool,
) -> None:
    """Run a command and write its folder; the manifest comes last.

    Parameters
    ----------
    command
        The command's function.
    given
        Its arguments.
    context
        Of the call.
    folder
        Where to keep the run; made if it does not exist.
    force
        Whether an older run of the same command may be replaced.

    Raises
    ------
    InputError
        If the folder holds something else.
    """
    words = command_words(context)
    made = _make_folder(folder, words, force)
    started, begun = datetime.now(UTC), time.monotonic()
    given, outputs = _with_outputs(given, words, folder)
    code = 0
    limited = any(given.get(name) is not None for name in LIMITS)
    with opened_files() as opened, _Tape.running(folder) as tape, _clock(limited) as readings:
        try:
            command(**given)
        except typer.Exit as left:
            code = left.exit_code
        except BaseException:
            _remove(folder, made, [*outputs.values(), *tape.files()])
            raise
    if readings is not None:
        write_readings(readings, folder / FILE)
    kept = [path for name, path in outputs.items() if _kept(given[name], path)]
    kept += tape.write(str(given["format"].value))
    values = [value for name, value in given.items() if name not in (*KEPT, *STORES)]
    here = Path.cwd()
    read = {Path(path).resolve() for path in opened}
    written = {path.resolve() for path in kept} | named_files(given.get(n) for n in KEPT)
    inputs = {p for p in read if is_data(p)} | named_files(values)
    options = _options(context, words)
    document = {
        "schema": SCHEMA,
        "command": list(words),
        "command_line": shlex.join(
            ["moeplace", *context.find_root().meta.get("moeplace.arguments", words)]
        ),
        "arguments": _arguments(context),
        "options": options,
        "working_folder": str(here),
        "inputs": [
            described(path, shown_path(path, here))
            for path in sorted(inputs - written)
            if not path.is_relative_to(folder.resolve())
        ],
        "versions": versions(),
        "platform": machine(),
        "seed": given.get("seed", options.get("seed", {}).get("value")),
        "started": started.isoformat(timespec="seconds"),
        "duration_s": time.monotonic() - begun,
        "exit_code": code,
        "repeatable": _repeatable(readings, code),
        "clock": None if readings is None else described(folder / FILE, FILE),
        "outputs": [described(path, path.name) for path in sorted(kept)],
    }
    with atomic_write(folder / NAME) as file:
        file.write(json_text(document) + "\n")
    if code:
        raise typer.Exit(code)


def command_words(context: typer.Context) -> tuple[str, ...]:
    """Return the words of the command, without the program's name."""
    words: list[str] = []
    at: Any = context
    while at.parent is not None:
        words.insert(0, str(at.info_name))
        at = at.parent
    return tuple(words)


@dataclass
class _Tape:
    """What a command prints and the document behind it."""

    folder: Path
    text: list[str] = field(default_factory=list)
    documents: list[Any] = field(default_factory=list)

    @classmethod
    @contextmanager
    def running(cls, folder: Path) -> Iterator[_Tape]:
        tape = cls(folder)
        before, token = sys.stdout, heard.set(tape.documents.append)
        sys.stdout = _Both(before, tape.text)
        try:
            yield tape
        finally:
            sys.stdout = before
            heard.reset(token)

    def files(self) -> list[Path]:
        return [self.folder / f"output{suffix}" for suffix in (".json", ".csv", ".txt")]

    def write(self, format: str) -> list[Path]:
        """Write the document, and what was printed where that was something else."""
        kept = {}
        if self.documents:
            kept["output.json"] = json_text(self.documents[-1]) + "\n"
        if format != "json":
            suffix = "csv" if format == "csv" else "txt"
            kept[f"output.{suffix}"] = COLORS.sub("", "".join(self.text))
        for name, text in kept.items():
            with atomic_write(self.folder / name) as file:
                file.write(text)
        return [self.folder / name for name in kept]


class _Both:
    """A stream that also keeps what is written."""

    def __init__(self, stream: Any, kept: list[str]) -> None:
        self._stream, self._kept = stream, kept

    def write(self, text: str) -> int:
        self._kept.append(text)
        return int(self._stream.write(text))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def _make_folder(folder: Path, words: tuple[str, ...], force: bool) -> bool:
    """Make the folder or clear it; return whether it is new."""
    if folder.is_dir() and any(folder.iterdir()):
        if not (folder / NAME).is_file():
            raise InputError(f"{folder}: holds files and no run; give a new folder")
        other = read_manifest(folder)
        if tuple(other["command"]) != words:
            raise InputError(
                f"{folder}: holds a run of `moeplace {' '.join(other['command'])}`; give a new "
                "folder"
            )
        if not force:
            raise InputError(f"{folder}: holds a run; give --force to replace it, or a new folder")
        for one in [*other["outputs"], {"path": FILE}]:
            (folder / Path(one["path"]).name).unlink(missing_ok=True)
        (folder / NAME).unlink()
        return False
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{folder}: {error.strerror or error}") from error
    return True


def _with_outputs(
    given: dict[str, Any], words: tuple[str, ...], folder: Path
) -> tuple[dict[str, Any], dict[str, Path]]:
    """Return the arguments with the outputs that are always kept, and where each is kept."""
    given, kept = dict(given), {}
    for name, stem in KEPT.items():
        if name not in given:
            continue
        stem = STUDY if words == ("compare",) and name == "output" else stem
        if given[name] is not None:
            kept[name] = folder / f"{stem}{Path(given[name]).suffix}"
        elif name in FILLED.get(words, ()):
            given[name] = kept[name] = folder / f"{stem}.json"
    return given, kept


def _kept(written: Path, path: Path) -> bool:
    """Copy an output that was written elsewhere; return whether there is one."""
    if written != path and written.is_file():
        shutil.copyfile(written, path)
    return path.is_file()


def _remove(folder: Path, made: bool, files: list[Path]) -> None:
    for path in files:
        path.unlink(missing_ok=True)
    if made and not any(folder.iterdir()):
        folder.rmdir()


def _plain(value: Any) -> Any:
    value = getattr(value, "value", value)
    if isinstance(value, (list, tuple)):
        return [_plain(one) for one in value]
    return str(value) if isinstance(value, Path) else value


def _arguments(context: typer.Context) -> dict[str, Any]:
    return {
        str(parameter.name): _plain(context.params.get(str(parameter.name)))
        for parameter in context.command.params
        if parameter.param_type_name == "argument"
    }


def _options(context: typer.Context, words: tuple[str, ...]) -> dict[str, Any]:
    """Return every option's value and who says so, by its name on the command line."""
    settings = context.find_root().obj
    found = {}
    for parameter in context.command.params:
        name = str(parameter.name)
        if parameter.param_type_name != "option" or name in OF_THE_RUN:
            continue
        source = context.get_parameter_source(name)
        said = settings.of(words, name) if settings is not None else None
        origin = {"COMMANDLINE": "command line", "DEFAULT_MAP": said and said.origin}.get(
            source.name if source is not None else "", BUILT_IN
        )
        key = next(o for o in parameter.opts if o.startswith("--")).removeprefix("--")
        found[key] = {"value": _plain(context.params.get(name)), "origin": origin}
    return found


def _clock(limited: bool) -> AbstractContextManager[Readings | None]:
    """Keep what the clock says where a search has a time limit, unless it is played back."""
    played = clock.played_readings()
    return clock.keeping() if limited and played is None else nullcontext(played)


def _repeatable(readings: Readings | None, code: int) -> dict[str, Any]:
    """Return whether the same command gives the same result, and why not."""
    lost = [] if readings is None else readings.lost
    why = "interrupted" if code == INTERRUPTED else "; ".join(lost) or None
    return {"holds": why is None, "why": why}
