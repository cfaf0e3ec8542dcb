"""The options of every command as a configuration file names them, read off the app itself."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from types import UnionType
from typing import TYPE_CHECKING, Annotated, Any, Union, get_args, get_origin, get_type_hints

if TYPE_CHECKING:
    from collections.abc import Iterator

KINDS: dict[type, str] = {bool: "flag", int: "whole number", float: "number", Path: "path"}


@dataclass(frozen=True)
class ConfigOption:
    """One option of one command.

    Attributes
    ----------
    command
        Words of the command, for example ``("trace", "import")``.
    name
        Parameter of the command's function.
    key
        Name in a configuration file: the long option without its dashes.
    kind
        ``flag``, ``whole number``, ``number``, ``path`` or ``text``.
    choices
        The only values that text may have, empty for any.
    multiple
        Whether it takes a list.
    default
        Built-in value, None if there is none.
    minimum, maximum
        Limits of a number, None for none.
    """

    command: tuple[str, ...]
    name: str
    key: str
    kind: str
    choices: tuple[str, ...]
    multiple: bool
    default: Any
    minimum: float | None
    maximum: float | None
    metavar: str
    help: str

    @property
    def variable(self) -> str:
        """Name of the environment variable."""
        words = "_".join((*self.command, self.key))
        return f"MOEPLACE_{words}".replace("-", "_").upper()


def normal(name: str) -> str:
    """Return a key or section as it is compared: dashes and underscores are the same."""
    return name.replace("_", "-").lower()


def commands(root: Any, words: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yield the words of every command that does something, and the command."""
    for name, inner in root.commands.items():
        if hasattr(inner, "commands"):
            yield from commands(inner, (*words, name))
        else:
            yield (*words, name), inner


def command_options(root: Any) -> dict[tuple[str, ...], dict[str, ConfigOption]]:
    """Return the options of every command of the app, by the command's words and the key.

    Parameters
    ----------
    root
        The root command.
    """
    return {
        words: {option.key: option for option in _options(words, command)}
        for words, command in commands(root)
    }


def _options(words: tuple[str, ...], command: Any) -> Iterator[ConfigOption]:
    hints = get_type_hints(command.callback, include_extras=True)
    for parameter in command.params:
        if parameter.param_type_name != "option" or parameter.name not in hints:
            continue
        long = [name for name in parameter.opts if name.startswith("--")]
        if not long:
            continue
        hint, said = _unpacked(hints[parameter.name])
        yield ConfigOption(
            command=words,
            name=parameter.name,
            key=long[0].removeprefix("--"),
            kind=KINDS.get(hint, "text"),
            choices=tuple(str(c.value) for c in hint) if issubclass(hint, Enum) else (),
            multiple=bool(parameter.multiple),
            default=_plain_default(parameter, hint),
            minimum=getattr(said, "min", None),
            maximum=getattr(said, "max", None),
            metavar=parameter.metavar or "",
            help=" ".join((parameter.help or "").split()),
        )


def _unpacked(hint: Any) -> tuple[type, Any]:
    """Return the type of one value and what typer was told about it."""
    said = None
    if get_origin(hint) is Annotated:
        hint, said = get_args(hint)[:2]
    while get_origin(hint) in (Union, UnionType, list, tuple):
        hint = next(one for one in get_args(hint) if one is not type(None))
    return (hint if isinstance(hint, type) else str), said


def _plain_default(parameter: Any, hint: type) -> Any:
    value = parameter.default
    if hint is bool and not isinstance(value, bool):
        return False  # a flag that nobody gives
    if isinstance(value, Enum):
        return str(value.value)
    if isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, (list, tuple)):
        return [str(one) for one in value] or None
    return str(value) if isinstance(value, Path) else None
