"""Which value every option has where the command line says nothing, and who says so."""

from __future__ import annotations

import os
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any

from moeplace.cli.config.catalog import ConfigOption, command_options, normal
from moeplace.cli.config.toml import read_toml
from moeplace.cli.config.values import checked, parsed
from moeplace.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from moeplace.cli.config.toml import TomlFile

    Options = Mapping[tuple[str, ...], Mapping[str, ConfigOption]]

FILE_NAME = "moeplace.toml"
DEFAULTS = "defaults"
BUILT_IN = "built-in"


@dataclass(frozen=True)
class Setting:
    """A value and who says so: ``built-in``, a variable, or a file with its line."""

    value: Any
    origin: str = BUILT_IN


@dataclass(frozen=True)
class Settings:
    """What files and the environment say.

    Attributes
    ----------
    files
        Files that were read, the stronger one first.
    values
        By the command's words and the parameter's name.
    """

    files: tuple[str, ...] = ()
    values: Mapping[tuple[str, ...], Mapping[str, Setting]] | None = None

    def of(self, words: tuple[str, ...], name: str) -> Setting | None:
        """Return what is said about a parameter of a command, None for nothing."""
        return (self.values or {}).get(words, {}).get(name)

    def default_map(self) -> dict[str, Any]:
        """Return the values as the parser takes them: dictionaries nested as commands are."""
        nested: dict[str, Any] = {}
        for words, said in (self.values or {}).items():
            inner = nested
            for word in words:
                inner = inner.setdefault(word, {})
            inner.update({name: setting.value for name, setting in said.items()})
        return nested


def default_files(environment: Mapping[str, str] = os.environ) -> list[Path]:
    """Return the configuration files that exist: the working folder's, then the user's."""
    folder = environment.get("XDG_CONFIG_HOME") or Path.home() / ".config"
    places = [Path(FILE_NAME), Path(folder) / "moeplace" / "config.toml"]
    return [place for place in places if place.is_file()]


def read_settings(
    root: Any,
    path: Path | None = None,
    *,
    files: bool = True,
    environment: Mapping[str, str] = os.environ,
) -> Settings:
    """Read the files and the environment.

    Parameters
    ----------
    root
        The root command, whose commands and options are the known ones.
    path
        The only file to read; None for those of :func:`default_files`.
    files
        Whether files are read at all.

    Raises
    ------
    InputError
        If a file is missing or no TOML, or a section, key or value is not one of the app's.
    """
    paths = ([path] if path is not None else default_files(environment)) if files else []
    said = {name: text for name, text in environment.items() if name.startswith("MOEPLACE_")}
    if not paths and not said:
        return Settings()
    options = command_options(root)
    values: dict[tuple[str, ...], dict[str, Setting]] = {words: {} for words in options}
    for place in reversed(paths):
        _add_file(read_toml(place), options, values)
    for words, known in options.items():
        for option in known.values():
            if text := said.get(option.variable):
                values[words][option.name] = Setting(parsed(option, text), option.variable)
    return Settings(tuple(str(p) for p in paths), {w: v for w, v in values.items() if v})


def _add_file(
    file: TomlFile, options: Options, values: dict[tuple[str, ...], dict[str, Setting]]
) -> None:
    sections: dict[tuple[str, ...], dict[str, Any]] = {}
    for name, content in file.content.items():
        if not isinstance(content, dict):
            raise InputError(
                f"{file.place(name)}: key {name!r} stands outside of a section; write it below "
                f"[{DEFAULTS}] or below a command, like [solve]"
            )
        _collect(file, (name,), content, options, sections)
    shared = sections.pop((DEFAULTS,), {})
    for key, value in shared.items():
        _add_shared(file, key, value, options, values)
    for section, content in sections.items():
        words = _command(section, options)
        for key, value in content.items():
            option = _known(options[words].values(), key)
            if option is None:
                raise _unknown(file, (*section, key), "option", options[words], words)
            where = f"{file.place(*section, key)}: [{'.'.join(section)}] {key}"
            found = Setting(checked(option, value, where), file.place(*section, key))
            values[words][option.name] = found


def _collect(
    file: TomlFile,
    section: tuple[str, ...],
    content: dict[str, Any],
    options: Options,
    sections: dict[tuple[str, ...], dict[str, Any]],
) -> None:
    """Part tables of groups into those of their commands."""
    if section == (DEFAULTS,) or _command(section, options):
        sections[section] = content
        return
    depth = len(section)
    inside = {
        words[depth]
        for words in options
        if [*map(normal, words[:depth])] == [*map(normal, section)] and len(words) > depth
    }
    if not inside:
        known = [DEFAULTS, *(".".join(words) for words in options)]
        raise _unknown(file, section, "section", known)
    for name, inner in content.items():
        if not isinstance(inner, dict):
            group = ".".join(section)
            raise InputError(
                f"{file.place(*section, name)}: [{group}] {name}: {group} is a group of commands; "
                f"write options below one of them, like [{group}.{min(inside)}]"
            )
        _collect(file, (*section, name), inner, options, sections)


def _add_shared(
    file: TomlFile,
    key: str,
    value: Any,
    options: Options,
    values: dict[tuple[str, ...], dict[str, Setting]],
) -> None:
    """Give a value of [defaults] to every command whose option of this name can have it.

    The value has to be one for the usual form of the option; commands for which the name means
    something else (``report --format``) keep their own where it is none for them.
    """
    place = file.place(DEFAULTS, key)
    found = [one for known in options.values() if (one := _known(known.values(), key)) is not None]
    if not found:
        names = {name for known in options.values() for name in known}
        raise _unknown(file, (DEFAULTS, key), "option", sorted(names))
    forms = [(one.kind, one.choices, one.multiple) for one in found]
    usual = max(forms, key=forms.count)
    for option, form in zip(found, forms, strict=True):
        try:
            good = checked(option, value, f"{place}: [{DEFAULTS}] {key}")
        except InputError:
            if form == usual:
                raise
            continue
        values[option.command][option.name] = Setting(good, place)


def _command(section: tuple[str, ...], options: Options) -> tuple[str, ...]:
    wanted = [*map(normal, section)]
    return next((words for words in options if [*map(normal, words)] == wanted), ())


def _known(options: Iterable[ConfigOption], key: str) -> ConfigOption | None:
    return next((one for one in options if normal(one.key) == normal(key)), None)


def _unknown(
    file: TomlFile,
    keys: tuple[str, ...],
    kind: str,
    known: Iterable[str],
    words: tuple[str, ...] = (),
) -> InputError:
    name = ".".join(keys) if kind == "section" else keys[-1]
    close = get_close_matches(normal(name), list(known), n=1, cutoff=0.5)
    meant = f"; did you mean {close[0]!r}?" if close else ""
    inside = "" if kind == "section" else f"[{'.'.join(keys[:-1])}] "
    hint = "`moeplace --help`" if not words else f"`moeplace {' '.join(words)} --help`"
    return InputError(f"{file.place(*keys)}: {inside}unknown {kind} {name!r}{meant} ({hint})")
