"""The errors a user can meet; each knows the exit code the command line leaves with."""

from __future__ import annotations

from difflib import get_close_matches
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


class MoeplaceError(Exception):
    """Root of all errors raised on purpose."""

    exit_code = 1


class UsageError(MoeplaceError):
    """Options that do not fit together."""

    exit_code = 2


class InputError(MoeplaceError):
    """A file, name or array that cannot be used as given."""

    exit_code = 3


class InfeasibleError(MoeplaceError):
    """No placement can exist: too few slots or too little memory."""

    exit_code = 4


class LimitError(MoeplaceError):
    """A limit was reached before any placement was found."""

    exit_code = 5


class BackendMissingError(MoeplaceError):
    """An optional package is not installed."""

    exit_code = 6


class CheckFailedError(MoeplaceError):
    """A verification did not hold."""

    exit_code = 7


def unknown_name(kind: str, name: str, known: Iterable[str], hint: str) -> InputError:
    """Return the error for a name that is not in a catalogue, with the nearest known one.

    Parameters
    ----------
    kind
        What was looked up, for example ``"model"``.
    name
        The name as the user wrote it.
    known
        The names that exist.
    hint
        How to see them all, for example ``"moeplace model list"``.
    """
    close = get_close_matches(name.lower(), list(known), n=1, cutoff=0.4)
    meant = f" did you mean {close[0]!r}?" if close else ""
    return InputError(f"unknown {kind} {name!r}:{meant} `{hint}` shows all")
