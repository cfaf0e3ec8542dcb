"""The rules of each engine, checked before a byte is written."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from moeplace.errors import CheckFailedError, InputError
from moeplace.placement.formats.context import ExportContext
from moeplace.placement.formats.registry import format_info

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from moeplace.placement.formats.context import ModelLike
    from moeplace.placement.formats.registry import FormatInfo
    from moeplace.placement.placement import Placement

# A broken one of these means a wrong file or model, not a placement that the engine refuses.
_WRONG_INPUT = ("layers:", "experts:", "suffix:")


def format_violations(
    placement: Placement, engine: str, model: ModelLike | None = None
) -> list[str]:
    """Return what the engine would refuse, each entry as ``"rule: what and where"``.

    The rules are ``experts`` and ``layers`` (the placement belongs to the model), ``coverage``
    (every expert has a slot), ``two-ranks``, ``one-slot`` (no replicas), ``whole-layers`` (the
    experts of a layer on one rank), ``full-slots``, ``equal-slots`` (the same number on every
    rank), ``equal-experts`` (the same number of experts on every rank of a layer) and
    ``no-duplicates`` (no expert twice on a rank). Dense rows are ignored where the format leaves
    them out.

    Parameters
    ----------
    placement
        Any placement.
    engine
        Name of a format.
    model
        The served model; without it the rules ``layers`` and ``experts`` are not checked, unless
        the format cannot be written without a model.

    Raises
    ------
    InputError
        If the format does not exist.
    """
    return violations(placement, format_info(engine), ExportContext.from_model(model))


def violations(placement: Placement, info: FormatInfo, context: ExportContext) -> list[str]:
    """Do the work of `format_violations` on resolved arguments."""
    found = _model_violations(placement, info, context)
    if found:
        return found
    if context.known and not info.native:
        placement = bind_rows(placement, context)
    checks = (
        (info.granularity == "expert", _two_ranks),
        (info.granularity != "slot", _one_slot),
        (info.granularity == "layer", _whole_layers),
        (info.needs_coverage, _coverage),
        (info.needs_full_slots, _full_slots),
        (info.equal_slots_required, _equal_slots),
        (info.equal_experts_required, _equal_experts),
        (not info.allows_duplicates, _no_duplicates),
    )
    for wanted, check in checks:
        text = check(placement) if wanted else None
        if text:
            found.append(text)
    return found


def bind_rows(placement: Placement, context: ExportContext) -> Placement:
    """Return one row per MoE layer of the model, in order, with absolute layer ids.

    Raises
    ------
    InputError
        If the rows cannot be matched to the layers of the model.
    """
    rows = moe_row_indices(placement, context)
    return placement.replace(
        expert_of_slot=placement.expert_of_slot[rows], layer_ids=context.moe_layers
    )


def moe_row_indices(placement: Placement, context: ExportContext) -> NDArray[np.intp]:
    """Return (MoE layers,) the row of the placement that belongs to each MoE layer.

    Raises
    ------
    InputError
        If the rows cannot be matched to the layers of the model.
    """
    text = _layers(placement, context)
    if text:
        raise InputError(f"placement: {text}")
    ids = placement.layer_ids
    if ids is None:
        if placement.num_layers == len(context.moe_layers):
            return np.arange(placement.num_layers)
        return np.array(context.moe_layers, np.intp)
    row_of = {layer: row for row, layer in enumerate(ids)}
    return np.array([row_of[layer] for layer in context.moe_layers], np.intp)


def checked(placement: Placement, path: str | Path, name: str, context: ExportContext) -> Placement:
    """Return the placement bound to the model's MoE layers if the format can hold it.

    Raises
    ------
    InputError
        If the path has a wrong ending or the placement does not belong to the model.
    CheckFailedError
        If the engine would refuse the placement.
    """
    info = format_info(name)
    if not placement.expert_of_slot.size:
        raise InputError(f"cannot write {path}: the placement has no layers or no slots")
    suffix = suffix_violation(path, info)
    found = [suffix] if suffix else violations(placement, info, context)
    if found:
        more = f" (and {len(found) - 1} more broken rules)" if len(found) > 1 else ""
        kind = InputError if found[0].startswith(_WRONG_INPUT) else CheckFailedError
        raise kind(f"cannot write {path} for {info.name}: {found[0]}{more}")
    if context.known and not info.native:
        return bind_rows(placement, context)
    return placement


def suffix_violation(path: str | Path, info: FormatInfo) -> str | None:
    """Return what is wrong with the ending of a path, or None."""
    if Path(path).name.endswith(info.suffixes):
        return None
    return f"suffix: the name must end in {' or '.join(info.suffixes)}"


def _model_violations(placement: Placement, info: FormatInfo, context: ExportContext) -> list[str]:
    if not context.known:
        return ["layers: this format needs a model; give one"] if info.needs_model else []
    if placement.num_experts != context.num_experts:
        return [
            f"experts: the placement has {placement.num_experts} experts a layer, "
            f"the model has {context.num_experts}"
        ]
    text = None if info.native else _layers(placement, context)
    return [text] if text else []


def _layers(placement: Placement, context: ExportContext) -> str | None:
    wanted, ids = context.moe_layers, placement.layer_ids
    if ids is None:
        if placement.num_layers in (len(wanted), context.num_hidden_layers):
            return None
        return (
            f"layers: {placement.num_layers} rows without layer ids, the model has "
            f"{len(wanted)} MoE layers of {context.num_hidden_layers} hidden layers"
        )
    if len(set(ids)) < len(ids):
        twice = next(layer for layer in ids if ids.count(layer) > 1)
        return f"layers: layer {twice} has more than one row"
    alien = [layer for layer in ids if not 0 <= layer < context.num_hidden_layers]
    if alien:
        return (
            f"layers: layer {alien[0]} does not exist; "
            f"the model has layers 0..{context.num_hidden_layers - 1}"
        )
    absent = sorted(set(wanted) - set(ids))
    if absent:
        return f"layers: MoE layer {absent[0]} has no row{_more(len(absent))}"
    return None


def _two_ranks(placement: Placement) -> str | None:
    if placement.num_ranks == 2:
        return None
    return f"two-ranks: {placement.num_ranks} ranks; rank 0 is the GPU, rank 1 the host"


def _one_slot(placement: Placement) -> str | None:
    several = np.argwhere(placement.replica_count > 1)
    if not several.size:
        return None
    row, expert = several[0]
    return (
        f"one-slot: expert {expert} has {placement.replica_count[row, expert]} slots in "
        f"{_layer(placement, row)}{_more(len(several))}; this engine copies no experts"
    )


def _whole_layers(placement: Placement) -> str | None:
    ranks = placement.replicas_on_rank.any(axis=1).sum(axis=1)
    split = np.flatnonzero(ranks > 1)
    if not split.size:
        return None
    row = split[0]
    return (
        f"whole-layers: the experts of {_layer(placement, row)} lie on {ranks[row]} ranks"
        f"{_more(len(split))}; this engine places whole layers only"
    )


def _coverage(placement: Placement) -> str | None:
    missing = np.argwhere(placement.replica_count == 0)
    if not missing.size:
        return None
    row, expert = missing[0]
    return f"coverage: expert {expert} has no slot in {_layer(placement, row)}{_more(len(missing))}"


def _full_slots(placement: Placement) -> str | None:
    empty = np.argwhere(placement.expert_of_slot < 0)
    if not empty.size:
        return None
    row, slot = empty[0]
    return (
        f"full-slots: slot {slot} (rank {placement.rank_of_slot[slot]}) of "
        f"{_layer(placement, row)} is empty{_more(len(empty))}"
    )


def _equal_slots(placement: Placement) -> str | None:
    counts = placement.slots_per_rank
    if counts.min() == counts.max():
        return None
    return (
        f"equal-slots: rank {counts.argmin()} has {counts.min()} slots and rank "
        f"{counts.argmax()} has {counts.max()}; all ranks need the same number"
    )


def _equal_experts(placement: Placement) -> str | None:
    counts = placement.replicas_on_rank.sum(axis=1)
    uneven = np.flatnonzero(counts.min(axis=1) != counts.max(axis=1))
    if not uneven.size:
        return None
    row = uneven[0]
    return (
        f"equal-experts: {_layer(placement, row)} has {counts[row].min()} to "
        f"{counts[row].max()} experts on a rank{_more(len(uneven))}"
    )


def _no_duplicates(placement: Placement) -> str | None:
    twice = np.argwhere(placement.replicas_on_rank > 1)
    if not twice.size:
        return None
    row, expert, rank = twice[0]
    return (
        f"no-duplicates: expert {expert} lies twice on rank {rank} of "
        f"{_layer(placement, row)}{_more(len(twice))}"
    )


def _layer(placement: Placement, row: int) -> str:
    if placement.layer_ids is None:
        return f"row {row}"
    return f"layer {placement.layer_ids[row]}"


def _more(count: int) -> str:
    return f", and {count - 1} more" if count > 1 else ""
