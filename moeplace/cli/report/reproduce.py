"""The command that makes a result again."""

from __future__ import annotations

import shlex
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from moeplace.cli.options import ProblemOptions

if TYPE_CHECKING:
    from collections.abc import Mapping


def command_of(document: Mapping[str, Any]) -> tuple[str | None, str]:
    """Return the command line that makes a result again, and what to know about it.

    Parameters
    ----------
    document
        A result file's document.

    Returns
    -------
    tuple
        None as the command if the result does not name its inputs, as one made in Python.
    """
    certificate = document.get("certificate")
    inputs = certificate.get("inputs") if isinstance(certificate, dict) else None
    if not isinstance(inputs, dict):
        return None, "It was made in Python and does not name its inputs."
    words = ["moeplace"]
    if document["solver"] == "evaluate":
        words += ["evaluate", str(document.get("placement") or "placement.json")]
    else:
        words += ["solve"]
    for flag, value in _flags(dict(inputs["options"])):
        words += [flag] if value is True else [flag, str(value)]
    note = ""
    if document["solver"] != "evaluate":
        words += ["--solver", str(document["solver"])]
        words += _searched(inputs.get("search"))
        if document["limit"] == "time":
            note = (
                "A time limit stopped the search: another machine, or another moment, may stop at "
                "another placement."
            )
        elif document["limit"] == "interrupted":
            note = "The search was interrupted: it may end at a better placement now."
    return shlex.join([*words, "--result", "result.json"]), note


def _searched(search: Any) -> list[str]:
    """Return the options of the search that the file names."""
    if not isinstance(search, dict):
        return []
    words = []
    for name, value in search.items():
        if value is not None:
            words += [f"--{str(name).replace('_', '-')}", str(value)]
    return words


def _flags(options: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """Return the options that were given, as the command line writes them."""
    found: list[tuple[str, Any]] = []
    for option in fields(ProblemOptions):
        value = options.get(option.name)
        if value is None or value is False:
            continue
        values = value if isinstance(value, list) else [value]
        found += [(f"--{option.name.replace('_', '-')}", one) for one in values]
    return found
