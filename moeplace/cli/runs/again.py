"""Runs the command of a manifest again."""

from __future__ import annotations

import contextlib
import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

from moeplace import clock
from moeplace.cli.config import Setting, Settings, command_options
from moeplace.cli.runs.files import changed_files
from moeplace.cli.runs.readings import FILE, read_readings
from moeplace.cli.runs.record import KEPT, STORES
from moeplace.errors import CheckFailedError, InputError, unknown_name

if TYPE_CHECKING:
    from collections.abc import Mapping

    from moeplace.clock import Readings


def run_again(root: Any, manifest: Mapping[str, Any], run: Path, new: Path) -> int:
    """Run the command with the options it had; files and the environment change nothing.

    Parameters
    ----------
    root
        The root command.
    manifest
        From :func:`..manifest.read_manifest`.
    run
        Where it is from, for messages.
    new
        Folder for the new run; outputs go there and nowhere else.

    Returns
    -------
    int
        Its exit code.

    Raises
    ------
    MoeplaceError
        Whatever the command raises, or if this version does not know the command or an option.
    """
    words = tuple(manifest["command"])
    known = command_options(root)
    if words not in known:
        names = [" ".join(one) for one in known]
        raise unknown_name("command", " ".join(words), names, "moeplace --help")
    values = {}
    for key, said in manifest["options"].items():
        if key not in known[words]:
            raise InputError(f"{run}: this version of moeplace knows no option --{key}")
        option = known[words][key]
        if option.name in STORES or said["value"] in (None, []):
            continue
        value = said["value"]
        if option.name in KEPT:  # never over what the first run wrote
            value = str(new / Path(value).name)
        values[option.name] = Setting(value, str(run))
    arguments: list[str] = []
    for value in manifest["arguments"].values():
        if value is not None:
            arguments += map(str, value) if isinstance(value, list) else [str(value)]
    clocks = _played(manifest, run)
    with contextlib.redirect_stdout(io.StringIO()), _folder(manifest["working_folder"]), clocks:
        code = root.main(
            [*words, "--run-dir", str(new), "--", *arguments],
            prog_name="moeplace",
            standalone_mode=False,
            obj=Settings(values={words: values}),
        )
    return code if isinstance(code, int) else 0


def refuse_changes(problems: list[str], run: Path) -> None:
    """Refuse to go on where inputs are not what they were.

    Raises
    ------
    CheckFailedError
        If there is any problem.
    """
    if problems:
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        raise CheckFailedError(
            f"{run}: {problems[0]}{more} since the run; --ignore-changes runs it all the same"
        )


def _played(
    manifest: Mapping[str, Any], run: Path
) -> contextlib.AbstractContextManager[Readings | None]:
    """Let the clock say what it said, where a time limit made the run depend on it."""
    kept = manifest["clock"]
    if kept is None:
        return contextlib.nullcontext()
    path = (run if run.is_dir() else run.parent) / FILE
    refuse_changes(changed_files([{**kept, "path": FILE}], path.parent), run)
    return clock.played(read_readings(path))


def _folder(path: str) -> contextlib.AbstractContextManager[Any]:
    """Work where the run did, if that folder still is there."""
    return contextlib.chdir(path) if Path(path).is_dir() else contextlib.nullcontext()
