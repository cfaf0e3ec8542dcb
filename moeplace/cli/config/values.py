"""Values of options: what a file or a variable says, made what the command line would give."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Any

from moeplace.errors import InputError

if TYPE_CHECKING:
    from moeplace.cli.config.catalog import ConfigOption

WORDS = {"1": True, "true": True, "yes": True, "on": True}
WORDS |= {"0": False, "false": False, "no": False, "off": False}


def checked(option: ConfigOption, value: Any, where: str) -> Any:
    """Return a value from a file for the option.

    Parameters
    ----------
    option
        The option.
    value
        As TOML gave it.
    where
        File, line, section and key, for errors.

    Raises
    ------
    InputError
        If the value is of another type, none of the choices or out of range.
    """
    if option.multiple:
        return [_one(option, v, where) for v in (value if isinstance(value, list) else [value])]
    if isinstance(value, list) and "," in option.metavar and value:
        return ",".join(str(_one(option, part, where)) for part in value)
    return _one(option, value, where)


def parsed(option: ConfigOption, text: str) -> Any:
    """Return the value of an environment variable; a list is parted at spaces, as in a shell.

    Raises
    ------
    InputError
        If the text is no such value.
    """
    where = option.variable
    if option.multiple:
        try:
            return [_one(option, _read(option, part), where) for part in shlex.split(text)]
        except ValueError as error:
            raise InputError(f"{where} is {text!r}: {error}") from None
    return _one(option, _read(option, text), where)


def _read(option: ConfigOption, text: str) -> Any:
    """Return what the text spells, or the text itself where it spells nothing."""
    if option.kind == "flag":
        return WORDS.get(text.strip().lower(), text)
    for number in {"whole number": (int,), "number": (int, float)}.get(option.kind, ()):
        try:
            return number(text)
        except ValueError:
            continue
    return text


def _one(option: ConfigOption, value: Any, where: str) -> Any:
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if option.kind == "flag":
        if not isinstance(value, bool):
            raise _wrong(where, value, "true or false")
        return value
    if option.kind == "whole number":
        if not number or isinstance(value, float):
            raise _wrong(where, value, "a whole number")
    elif option.kind == "number":
        if not number:
            raise _wrong(where, value, "a number")
        value = float(value)
    else:
        if not number and not isinstance(value, str):
            raise _wrong(where, value, "text")
        value = str(value)
        if option.choices and value not in option.choices:
            raise _wrong(where, value, "one of " + ", ".join(option.choices))
        return value
    if option.minimum is not None and value < option.minimum:
        raise _wrong(where, value, f"at least {option.minimum:g}")
    if option.maximum is not None and value > option.maximum:
        raise _wrong(where, value, f"at most {option.maximum:g}")
    return value


def _wrong(where: str, value: Any, wanted: str) -> InputError:
    said = str(value).lower() if isinstance(value, bool) else repr(value)
    return InputError(f"{where} is {said}; use {wanted}")
