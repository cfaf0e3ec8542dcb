"""What the two native files share: schema, keys and their meaning."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np

from moeplace.errors import InputError
from moeplace.placement.formats import expect
from moeplace.placement.placement import Placement

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray

SCHEMA = "moeplace.placement/1"
REQUIRED = ("schema", "num_experts", "num_ranks", "rank_of_slot", "expert_of_slot")
OPTIONAL = ("layer_ids", "metadata")


def metadata_text(metadata: Mapping[str, Any], path: str | Path) -> str:
    """Return metadata as JSON.

    Raises
    ------
    InputError
        If a value cannot be written as JSON or a key is not a string.
    """
    if not all(isinstance(key, str) for key in metadata):
        raise InputError(f"cannot write {path}: metadata keys must be strings")
    try:
        return json.dumps(dict(metadata), ensure_ascii=False, allow_nan=False, sort_keys=True)
    except (TypeError, ValueError) as error:
        raise InputError(f"cannot write {path}: metadata is not JSON ({error})") from error


def check_schema(found: object, path: str | Path) -> None:
    """Refuse another kind of file or another version.

    Raises
    ------
    InputError
        If the schema is not this one.
    """
    if found != SCHEMA:
        raise InputError(f"{path}: schema is {found!r}, expected {SCHEMA!r}")


def build(
    path: str | Path,
    table: NDArray[Any],
    ranks: NDArray[Any],
    num_experts: int,
    num_ranks: int,
    layer_ids: tuple[int, ...] | None,
) -> Placement:
    """Return the placement; its own checks get the name of the file in front.

    Raises
    ------
    InputError
        If the parts do not fit together.
    """
    if table.shape[0] == 0 or table.shape[1] == 0:
        raise InputError(f"{path}: expert_of_slot is empty")
    try:
        return Placement(
            table.astype(np.int32), ranks.astype(np.int32), num_experts, num_ranks, layer_ids
        )
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


def positive(value: Any, path: str | Path, key: str) -> int:
    """Return a count of at least one.

    Raises
    ------
    InputError
        If it is not an integer ≥ 1.
    """
    return expect.integer(value, f"{path}, key {key!r}", low=1)
