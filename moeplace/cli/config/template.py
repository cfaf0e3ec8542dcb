"""A commented configuration file, written from the app."""

from __future__ import annotations

import json
import textwrap
from typing import TYPE_CHECKING, Any

from moeplace.cli.config.settings import DEFAULTS, FILE_NAME
from moeplace.cli.config.values import checked
from moeplace.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from moeplace.cli.config.catalog import ConfigOption

WIDTH = 88
SHARED = 3  # commands that make an option a common one
HEAD = f"""\
# Options of moeplace. A line that begins with # and no space is an option at its built-in value:
# remove the # and change it. The command line wins over the environment, the environment over
# this file, {FILE_NAME} in the working folder over $XDG_CONFIG_HOME/moeplace/config.toml.
# `moeplace config show COMMAND` tells where each value comes from.
"""


def template(options: Mapping[tuple[str, ...], Mapping[str, ConfigOption]]) -> str:
    """Return the file with every option commented out at its default.

    Options that several commands share, with one meaning and default, stand in one section.
    """
    uses: dict[str, list[ConfigOption]] = {}
    for known in options.values():
        for key, option in known.items():
            uses.setdefault(key, []).append(option)
    commons = {key: _usual(them) for key, them in uses.items()}
    shared = {key: one for key, one in commons.items() if one is not None}
    parts = [HEAD, _section(DEFAULTS, "Options that several commands share.", shared.values())]
    for words, known in options.items():
        own = [
            option
            for key, option in known.items()
            if key not in shared or _form(option) != _form(shared[key])
        ]
        if own:
            parts.append(_section(".".join(words), f"`moeplace {' '.join(words)}`", own))
    return "\n".join(parts)


def toml_value(value: Any) -> str:
    """Return a value as TOML writes it."""
    if isinstance(value, list):
        return "[" + ", ".join(toml_value(one) for one in value) + "]"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    return repr(value).lower() if isinstance(value, bool) else repr(value)


def _form(option: ConfigOption) -> tuple[Any, ...]:
    return (option.kind, option.choices, option.multiple, option.default)


def _usual(options: list[ConfigOption]) -> ConfigOption | None:
    """Return the form of an option that can stand once for all commands, None without one.

    A built-in value that is written down must be that of every command that can have it; a path
    never is shared, since what is read or written there depends on the command.
    """
    forms = [_form(option) for option in options]
    usual = max(forms, key=forms.count)
    found = options[forms.index(usual)]
    if forms.count(usual) < SHARED or found.kind == "path":
        return None
    return None if any(_would_change(one, found.default) for one in options) else found


def _would_change(option: ConfigOption, value: Any) -> bool:
    """Return whether a value in [defaults] would be another one than the built-in."""
    if value is None or value == option.default:
        return False
    try:
        checked(option, value, "")
    except InputError:
        return False
    return True


def _section(name: str, about: str, options: Iterable[ConfigOption]) -> str:
    lines = [f"[{name}]", f"# {about}", ""]
    for option in options:
        if option.default is not None:
            lines += _wrapped(option.help)
            lines.append(f"#{option.key} = {toml_value(option.default)}")
        else:
            kind = f"list of {option.kind}s" if option.multiple else option.kind
            choices = f", {' or '.join(option.choices)}" if option.choices else ""
            lines += _wrapped(f"{option.key} ({kind}{choices}): {option.help}")
    return "\n".join(lines) + "\n"


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(
        text,
        WIDTH,
        initial_indent="# ",
        subsequent_indent="#   ",
        break_long_words=False,
        break_on_hyphens=False,
    )
