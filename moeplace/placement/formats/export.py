from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from moeplace.errors import InputError
from moeplace.placement.formats.context import ExportContext
from moeplace.placement.formats.detect import detect_format
from moeplace.placement.formats.registry import format_info, load_format
from moeplace.placement.formats.rules import (
    bind_rows,
    checked,
    moe_row_indices,
    suffix_violation,
    violations,
)
from moeplace.placement.formats.slots import fill_empty_slots, pad_slots

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import ArrayLike

    from moeplace.placement.formats.context import ModelLike
    from moeplace.placement.formats.registry import FormatInfo
    from moeplace.placement.placement import Placement

# What extra copies can repair; the other rules need another placement or another model.
_REPAIRABLE = ("full-slots:", "equal-slots:", "equal-experts:")


@dataclass(frozen=True)
class ExportReport:
    """What was written and how a server loads it.

    Attributes
    ----------
    path, engine
        The file and the name of its format.
    flags
        Flags for the server's command line, in order.
    filled_slots
        Extra copies put into empty slots, all layers together.
    notes
        What else to set up or to know, one sentence each.
    placement
        The placement as written, to be scored again where slots were filled.
    """

    path: Path
    engine: str
    flags: list[str]
    filled_slots: int
    notes: list[str]
    placement: Placement = field(repr=False)


def export_placement(
    placement: Placement,
    path: str | Path,
    engine: str,
    *,
    model: ModelLike | None = None,
    fill: bool = True,
    load: ArrayLike | None = None,
    metadata: Mapping[str, Any] | None = None,
) -> ExportReport:
    """Write a placement for an engine, or refuse before anything is written.

    Parameters
    ----------
    placement
        Any placement; dense rows are left out where the format has none.
    path
        File to write, with the ending the format asks for.
    engine
        Name of a format, see `list_formats`.
    model
        The served model; needed by every format but the native ones and ``eplb``.
    fill
        Put extra copies into empty slots where the engine demands full or equal ones. Without
        it such a placement is refused.
    load
        (rows of the placement, experts) tokens routed; decides which experts are copied.
    metadata
        Kept in native files, refused for others.

    Raises
    ------
    InputError
        If the engine is not known, the path has a wrong ending or cannot be written, or the
        placement does not belong to the model.
    CheckFailedError
        If the engine would refuse the placement; the message names the rule.
    InfeasibleError
        If a rank has more slots than can be filled without a second copy.
    """
    info = format_info(engine)
    context = ExportContext.from_model(model, placement.num_ranks)
    if info.native:
        return _export_native(placement, Path(path), info, context, metadata)
    if metadata:
        raise InputError(f"{info.name} files cannot hold metadata; leave it out")
    broken = violations(placement, info, context)
    repairable = all(text.startswith(_REPAIRABLE) for text in broken)
    notes: list[str] = []
    filled = 0
    if broken and repairable and fill and not suffix_violation(path, info):
        if load is not None:
            load = _rows_of_load(load, placement, context)
        if context.known:
            placement = bind_rows(placement, context)
        before = int(np.count_nonzero(placement.expert_of_slot >= 0))
        placement = _repair(placement, info, load)
        filled = int(np.count_nonzero(placement.expert_of_slot >= 0)) - before
        notes = _fill_notes(info, filled)
    placement = checked(placement, path, info.name, context)
    module = load_format(info.name)
    module.write(placement, path, context=context)
    flags, usage_notes = module.usage(placement, path)
    notes += usage_notes + _duplicate_notes(placement)
    return ExportReport(Path(path), info.name, flags, filled, notes, placement)


def read_placement(
    path: str | Path,
    engine: str | None = None,
    *,
    model: ModelLike | None = None,
    num_ranks: int | None = None,
) -> Placement:
    """Read a placement in any format.

    Parameters
    ----------
    path
        File to read.
    engine
        Name of its format; without it the content decides.
    model
        The model it belongs to; gives layer ids and checks the sizes.
    num_ranks
        Ranks of the expert-parallel group; needed where the format does not tell it.

    Raises
    ------
    InputError
        If the file cannot be read, is not in the format, or belongs to another model.
    """
    info = format_info(engine or detect_format(path))
    context = ExportContext.from_model(model, num_ranks)
    placement = load_format(info.name).read(path, context=context)
    if context.known and placement.num_experts != context.num_experts:
        raise InputError(
            f"{path}: made for {placement.num_experts} experts a layer, the model has "
            f"{context.num_experts}"
        )
    return placement


def save_placement(
    placement: Placement, path: str | Path, *, metadata: Mapping[str, Any] | None = None
) -> Path:
    """Write a native file, npz where the path ends so and JSON elsewhere.

    Raises
    ------
    InputError
        If the path ends in neither .json nor .npz, or the metadata is not JSON.
    """
    info = format_info("native-npz" if Path(path).suffix == ".npz" else "native-json")
    return _export_native(
        placement, Path(path), info, ExportContext.from_model(None), metadata
    ).path


def read_metadata(path: str | Path) -> dict[str, Any]:
    """Return the metadata of a native file, empty where it has none.

    Raises
    ------
    InputError
        If the file is not a native file.
    """
    from moeplace.placement.formats import native_json, native_npz

    name = detect_format(path)
    if name == native_json.NAME:
        return native_json.read_metadata(path)
    if name == native_npz.NAME:
        return native_npz.read_metadata(path)
    raise InputError(f"{path}: {name} files hold no metadata")


def _export_native(
    placement: Placement,
    path: Path,
    info: FormatInfo,
    context: ExportContext,
    metadata: Mapping[str, Any] | None,
) -> ExportReport:
    from moeplace.placement.formats import native_json, native_npz

    write = native_json.write if info.name == native_json.NAME else native_npz.write
    write(placement, path, context=context, metadata=metadata)
    return ExportReport(path, info.name, [], 0, [], placement)


def _repair(placement: Placement, info: FormatInfo, load: ArrayLike | None) -> Placement:
    if info.needs_full_slots:
        return fill_empty_slots(placement, load)
    if info.equal_experts_required:
        return fill_empty_slots(placement, load, level=True)
    return pad_slots(placement)


def _rows_of_load(load: ArrayLike, placement: Placement, context: ExportContext) -> ArrayLike:
    array = np.asarray(load, np.float64)
    if not context.known or array.shape[:1] != (placement.num_layers,):
        return array
    return array[moe_row_indices(placement, context)]


def _fill_notes(info: FormatInfo, filled: int) -> list[str]:
    if not filled:
        return [f"empty slots were added: {info.name} needs the same number on every rank"]
    return [
        f"{filled} empty slots were filled with extra copies, which {info.name} demands; "
        "score the placement again"
    ]


def _duplicate_notes(placement: Placement) -> list[str]:
    wasted = int(placement.duplicates().sum())
    if not wasted:
        return []
    return [f"{wasted} slots hold a second copy of an expert on the same rank, which is wasted"]
