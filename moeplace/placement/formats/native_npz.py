"""moeplace's own npz: the same content as the JSON file in less space."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from moeplace.errors import InputError
from moeplace.files import atomic_write
from moeplace.placement.formats import expect, native
from moeplace.placement.formats.reading import parse_json, read_npz
from moeplace.placement.formats.rules import checked

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from moeplace.placement.formats.context import ExportContext
    from moeplace.placement.placement import Placement

NAME = "native-npz"


def write(
    placement: Placement,
    path: str | Path,
    *,
    context: ExportContext,
    metadata: Mapping[str, Any] | None = None,
) -> None:
    """Write the placement as it is, empty slots included.

    Raises
    ------
    InputError
        If the path does not end in .npz or the metadata is not JSON.
    """
    placement = checked(placement, path, NAME, context)
    arrays: dict[str, Any] = {
        "schema": np.array(native.SCHEMA),
        "num_experts": np.array(placement.num_experts, np.int64),
        "num_ranks": np.array(placement.num_ranks, np.int64),
        "rank_of_slot": placement.rank_of_slot,
        "expert_of_slot": placement.expert_of_slot,
    }
    if placement.layer_ids is not None:
        arrays["layer_ids"] = np.array(placement.layer_ids, np.int64)
    if metadata:
        arrays["metadata"] = np.array(native.metadata_text(metadata, path))
    with atomic_write(path, "wb") as file:
        np.savez_compressed(file, **arrays)


def read(path: str | Path, *, context: ExportContext) -> Placement:
    """Read a placement.

    Raises
    ------
    InputError
        If the file is not a complete native file.
    """
    data = _load(path)
    num_ranks = _count(data, path, "num_ranks")
    context.check_ranks(num_ranks, path)
    layer_ids = None
    if "layer_ids" in data:
        ids = expect.integer_array(data["layer_ids"], f"{path}, array 'layer_ids'", 1)
        layer_ids = tuple(int(layer) for layer in ids)
    return native.build(
        path,
        expect.integer_array(data["expert_of_slot"], f"{path}, array 'expert_of_slot'", 2),
        expect.integer_array(data["rank_of_slot"], f"{path}, array 'rank_of_slot'", 1),
        _count(data, path, "num_experts"),
        num_ranks,
        layer_ids,
    )


def read_metadata(path: str | Path) -> dict[str, Any]:
    """Return the metadata of a native npz file, empty where it has none.

    Raises
    ------
    InputError
        If the file is not a native file.
    """
    return _metadata(_load(path), path)


def usage(placement: Placement, path: str | Path) -> tuple[list[str], list[str]]:
    """No server reads this file."""
    del placement, path
    return [], []


def _load(path: str | Path) -> dict[str, NDArray[Any]]:
    data = read_npz(path)
    if "schema" in data:
        native.check_schema(_text(data, "schema"), path)
    expect.mapping(data, str(path), native.REQUIRED, native.OPTIONAL)
    _metadata(data, path)
    return data


def _metadata(data: Mapping[str, NDArray[Any]], path: str | Path) -> dict[str, Any]:
    if "metadata" not in data:
        return {}
    metadata = parse_json(_text(data, "metadata") or "", f"{path}, array 'metadata'")
    if not isinstance(metadata, dict):
        raise InputError(f"{path}, array 'metadata': a mapping is expected")
    return metadata


def _text(data: Mapping[str, NDArray[Any]], key: str) -> str | None:
    array = data[key]
    return str(array) if array.ndim == 0 and array.dtype.kind == "U" else None


def _count(data: Mapping[str, NDArray[Any]], path: str | Path, key: str) -> int:
    array = expect.integer_array(data[key], f"{path}, array {key!r}", 0)
    return native.positive(int(array), path, key)
