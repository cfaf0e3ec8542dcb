"""Plugins: modules of others that register solvers and importers when they are imported."""

from __future__ import annotations

import os
from importlib import import_module

from moeplace.errors import InputError

GROUP = "moeplace.plugins"
VARIABLE = "MOEPLACE_PLUGINS"
_loaded: list[str] = []


def load_plugins() -> tuple[str, ...]:
    """Import every plugin once and return their names.

    Plugins are the modules named in the environment variable ``MOEPLACE_PLUGINS`` (separated by
    commas), and those that installed packages name under the entry point group
    ``moeplace.plugins``. A registry calls this when it is asked for a name that it does not know,
    or for all names.

    Raises
    ------
    InputError
        If a plugin cannot be imported.
    """
    for name, where in _found():
        if name in _loaded:
            continue
        _loaded.append(name)  # before the import, which may ask a registry for a name
        try:
            import_module(name)
        except Exception as error:
            _loaded.remove(name)
            reason = f"{type(error).__name__}: {' '.join(str(error).split())}"
            raise InputError(f"plugin {name!r} ({where}) cannot be imported: {reason}") from error
    return tuple(_loaded)


def _found() -> list[tuple[str, str]]:
    """Return module and origin of every plugin."""
    from importlib.metadata import entry_points

    told = os.environ.get(VARIABLE, "").split(",")
    found = [(name.strip(), VARIABLE) for name in told if name.strip()]
    return found + [
        (point.value, f"entry point {point.name}") for point in entry_points(group=GROUP)
    ]
