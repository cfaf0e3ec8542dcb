"""Reading single values of a Hugging Face config, under whichever key they are stored."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from moeplace.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping


def first_key(config: Mapping[str, Any], keys: tuple[str, ...]) -> str | None:
    """Return the first of `keys` that the config has with a value, or None."""
    return next((key for key in keys if config.get(key) is not None), None)


def first_whole(config: Mapping[str, Any], keys: tuple[str, ...]) -> int | None:
    """Return the whole number under the first of `keys` that is there, or None."""
    key = first_key(config, keys)
    return None if key is None else whole(config, key)


def whole(config: Mapping[str, Any], key: str) -> int | None:
    """Return the whole number under `key`, or None where it is missing or null.

    A list with one value per layer counts as that value where all are equal.

    Raises
    ------
    InputError
        If the value is something else, or differs between layers.
    """
    value = config.get(key)
    if isinstance(value, list) and value:
        if any(item != value[0] for item in value):
            raise InputError(f"{key}: differs between layers ({value}); one value is needed")
        value = value[0]
    if value is None:
        return None
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        raise InputError(f"{key}: expected a whole number, got {value!r}")
    return value


def text_value(config: Mapping[str, Any], key: str) -> int | None:
    """Like `whole`, but of a list by modality (ERNIE: text, then vision) take the text entry."""
    value = config.get(key)
    if isinstance(value, list) and len(value) == 2:
        return whole({key: value[0]}, key)
    return whole(config, key)
