"""SGLang's expert distribution recorder, mode per_token: the slots of every token, by pass.

A record holds `topk_ids_of_layer` [layers, tokens, k] (−1 pads), `positions`, `forward_mode`
(1 extend, 2 decode) and `forward_pass_id`. Ids are slots; `last_physical_to_logical_map` brings
them back. There is one file a rank. Layers are all layers of the model, dense ones −1.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from moeplace.errors import InputError
from moeplace.traces.importers.options import ImportOptions, Unit
from moeplace.traces.importers.physical import logical_ids, slot_map
from moeplace.traces.importers.torch_head import mentions
from moeplace.traces.torch_zip import read_torch
from moeplace.traces.trace import RoutingTrace

if TYPE_CHECKING:
    from numpy.typing import NDArray

DECODE = 2  # ForwardMode.DECODE of SGLang


def recognizes(path: Path) -> bool:
    """Tell whether it is a per_token dump, or a folder of them."""
    files = sorted(path.glob("*.pt")) if path.is_dir() else [path]
    return bool(files) and mentions(files[0], "topk_ids_of_layer")


def units(path: Path, options: ImportOptions) -> list[Unit]:
    """Return the folder as one unit: ranks that recorded the same tokens must meet."""
    del options
    files = sorted(path.glob("*.pt")) if path.is_dir() else [path]
    return [Unit(str(path), size=sum(file.stat().st_size for file in files))]


def read_unit(unit: Unit, options: ImportOptions, bad: list[str] | None = None) -> RoutingTrace:
    """Read one unit; see `read`."""
    del bad
    return read(Path(unit.path), num_experts=options.num_experts)


def read(path: Path, *, num_experts: int | None = None, name: str | None = None) -> RoutingTrace:
    """Read tokens in the order of passes and ranks.

    Requests are not recorded in decode, so there is no request column. A pass that two ranks
    recorded alike (tensor parallel attention) counts once.

    Parameters
    ----------
    path
        A file, or a folder with the files of all ranks.
    num_experts
        Logical experts per layer; by default what the map says.
    name
        What to call the trace.

    Raises
    ------
    InputError
        If a file is broken, of another kind, or a token used a slot that the map does not know.
    """
    files = sorted(path.glob("*.pt")) if path.is_dir() else [path]
    seen: set[tuple[Any, ...]] = set()
    parts: list[tuple[int, int, NDArray[Any], NDArray[Any], bool]] = []
    experts = num_experts or 0
    for order, file in enumerate(files):
        content = read_torch(file)
        if not isinstance(content, dict) or "last_physical_to_logical_map" not in content:
            raise InputError(f"{file}: no last_physical_to_logical_map in it")
        table, found = slot_map(content["last_physical_to_logical_map"], str(file), num_experts)
        experts = max(experts, found)
        records = content.get("records")
        if not isinstance(records, list):
            raise InputError(f"{file}: no list of records")
        for place, record in enumerate(records):
            part = _record(record, table, f"{file}: record {place}")
            digest = (part[0], part[2].tobytes(), part[1].tobytes())
            if digest not in seen:
                seen.add(digest)
                parts.append((part[0], order, part[1], part[2], part[3]))
    if not parts:
        raise InputError(f"{path}: no token is recorded")
    parts.sort(key=lambda part: part[:2])
    widths = {part[2].shape[1:] for part in parts}
    if len(widths) > 1:
        raise InputError(f"{path}: records of different shapes {sorted(widths)}")
    ids = np.concatenate([part[2] for part in parts])
    ids = ids[:, :, : _used_columns(ids)]
    phase = np.concatenate([np.full(len(part[2]), part[4], dtype=np.uint8) for part in parts])
    try:
        return RoutingTrace.from_arrays(
            ids,
            experts,
            position=np.concatenate([part[3] for part in parts]),
            phase=phase,
            name=name or path.stem,
            meta={"source": f"SGLang recorder, per_token, {path.name}"},
        )
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


def _record(
    record: Any, table: NDArray[Any], where: str
) -> tuple[int, NDArray[Any], NDArray[Any], bool]:
    try:
        ids = np.asarray(record["topk_ids_of_layer"])
        mode, number = int(record.get("forward_mode") or 0), int(record.get("forward_pass_id") or 0)
        positions = np.asarray(record.get("positions", []), dtype=np.int64).ravel()
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(f"{where}: no per_token record of SGLang's recorder") from error
    if ids.dtype.kind not in "iu":
        raise InputError(f"{where}: topk_ids_of_layer are {ids.dtype}, whole numbers expected")
    logical = logical_ids(ids.astype(np.int64), table, where).transpose(1, 0, 2)
    if positions.size != logical.shape[0]:
        positions = np.full(logical.shape[0], -1)
    return number, np.ascontiguousarray(logical), positions, mode == DECODE


def _used_columns(ids: NDArray[Any]) -> int:
    """Return the columns of the buffer that hold any id: the recorder reserves eight."""
    return max(int((ids >= 0).any(axis=(0, 1)).sum()), 1)
