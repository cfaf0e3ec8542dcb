"""Problems made again from what a result file says about its inputs."""

from __future__ import annotations

import json
from dataclasses import asdict, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from moeplace.errors import CheckFailedError, InputError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from moeplace.cli.options import ProblemOptions
    from moeplace.formulations.verify import Verification
    from moeplace.placement import Problem

MOST_BYTES = 512 * 2**20  # a result file is far smaller


def inputs_of(options: ProblemOptions, search: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Return the options of a problem and the hashes of the files they name.

    Parameters
    ----------
    options
        As given.
    search
        Options of the search that were given, so that it can be run again.
    """
    from moeplace.formulations.verify import recorded_files

    said = {
        name: str(value) if isinstance(value, Path) else value
        for name, value in asdict(options).items()
    }
    named = [options.model, options.hw, options.current, options.holdout, *(options.trace or [])]
    told = {name: value for name, value in (search or {}).items() if value is not None}
    return {
        "options": said,
        "files": recorded_files(named),
        **({"search": told} if told else {}),
    }


def read_result(path: Path | str) -> dict[str, Any]:
    """Return a result file's document.

    Raises
    ------
    InputError
        If it is missing or no JSON object.
    """
    place = Path(path)
    if not place.is_file():
        raise InputError(f"{path}: no such file")
    if place.stat().st_size > MOST_BYTES:
        raise InputError(f"{path}: too large for a result file")
    try:
        document = json.loads(place.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: not a JSON file ({error})") from error
    if not isinstance(document, dict):
        raise InputError(f"{path}: not a result file; a JSON object expected")
    return document


def rebuilt_problem(document: Mapping[str, Any], path: Path | str) -> Problem:
    """Return the problem of a result file, from the files and names it was made from.

    Raises
    ------
    InputError
        If the inputs are not recorded or a file is missing.
    CheckFailedError
        If a file has changed.
    """
    from moeplace.cli.inputs import build_problem
    from moeplace.cli.options import ProblemOptions
    from moeplace.formulations.verify import recorded_files

    certificate = document.get("certificate")
    inputs = certificate.get("inputs") if isinstance(certificate, dict) else None
    if not isinstance(inputs, dict):
        raise InputError(
            f"{path}: does not say what its problem was made from; give the problem to "
            "moeplace.verify, or write the result with `moeplace solve --result`"
        )
    for name, digest in dict(inputs["files"]).items():
        now = recorded_files([name])
        if not now:
            raise InputError(
                f"{path}: made from {name}, which is not here; run verify where that path exists"
            )
        if now[name] != digest:
            raise CheckFailedError(f"{path}: {name} has changed since the result was written")
    said = dict(inputs["options"])
    known = {field.name for field in fields(ProblemOptions)}
    if unknown := sorted(set(said) - known):
        raise InputError(f"{path}: unknown option {unknown[0]!r} among its inputs")
    if said.get("current") is not None:
        said["current"] = Path(said["current"])
    said["redundant"] = str(document["problem"]["redundant"])  # auto has been decided
    return build_problem(ProblemOptions(**said), lambda note: None)


def verify(path: Path | str, problem: Problem | None = None) -> Verification:
    """Check a result file: its placement, its value, and the proof of its bound.

    Parameters
    ----------
    path
        Written by ``moeplace solve --result`` or ``evaluate --result``.
    problem
        The problem, where the file does not say what it was made from.

    Returns
    -------
    Verification
        Everything that was checked; all of it holds.

    Raises
    ------
    InputError
        If the file is no result, damaged, or made from files that are not here.
    CheckFailedError
        If anything does not hold.
    """
    found = checked(path, problem)
    found.raise_if_broken(str(path))
    return found


def checked(path: Path | str, problem: Problem | None = None) -> Verification:
    """Return what was checked in a result file, whether it holds or not."""
    from moeplace.formulations.verify import verify_document

    document = read_result(path)
    try:
        problem = rebuilt_problem(document, path) if problem is None else problem
        return verify_document(document, problem)
    except (KeyError, TypeError) as error:
        raise InputError(f"{path}: the result is damaged ({error!r}); write it again") from error
    except InputError as error:
        text = str(error)
        raise InputError(text if text.startswith(str(path)) else f"{path}: {text}") from error
