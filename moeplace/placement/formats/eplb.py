"""The three arrays of EPLB (github.com/deepseek-ai/EPLB): phy2log, log2phy, logcnt."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from moeplace.errors import InputError
from moeplace.files import atomic_write
from moeplace.placement.formats import expect
from moeplace.placement.formats.context import ExportContext
from moeplace.placement.formats.reading import read_npz
from moeplace.placement.formats.rules import checked
from moeplace.placement.placement import Placement

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import ArrayLike, NDArray

NAME = "eplb"


def to_eplb(
    placement: Placement,
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Return the arrays that ``rebalance_experts`` of EPLB returns.

    Returns
    -------
    phy2log
        (layers, slots) int64, the expert of each slot, −1 where the slot is empty.
    log2phy
        (layers, experts, max replicas) int64, the slots of each expert in ascending order,
        padded with −1. EPLB itself lists them in the order in which it made the replicas.
    logcnt
        (layers, experts) int64, replicas of each expert.

    Raises
    ------
    InputError
        If the ranks have unequal slots: EPLB computes the rank of a slot from its number.
    """
    counts = placement.slots_per_rank
    if counts.size == 0 or counts.min() != counts.max():
        raise InputError("EPLB arrays need the same number of slots on every rank; pad them first")
    phy2log = placement.expert_of_slot.astype(np.int64)
    logcnt = placement.replica_count.astype(np.int64)
    return phy2log, _positions(phy2log, logcnt), logcnt


def from_phy2log(
    phy2log: ArrayLike,
    num_ranks: int,
    num_experts: int,
    layer_ids: Sequence[int] | None = None,
) -> Placement:
    """Build a placement from the (layers, slots) expert of each slot; slots are shared equally.

    Raises
    ------
    InputError
        If the slots cannot be shared equally by the ranks or an expert is out of range.
    """
    table = expect.integer_array(phy2log, "phy2log", 2)
    context = ExportContext(0, (), 0, num_ranks)
    ranks, rank_of_slot = context.equal_ranks(table.shape[1], "phy2log")
    ids = None if layer_ids is None else tuple(layer_ids)
    return Placement(table.astype(np.int32), rank_of_slot, num_experts, ranks, ids)


def write(placement: Placement, path: str | Path, *, context: ExportContext) -> None:
    """Write an npz file with the three arrays; dense rows are left out where a model is known.

    Raises
    ------
    InputError
        If the path or the model does not fit.
    CheckFailedError
        If an expert has no slot or ranks have unequal slots.
    """
    phy2log, log2phy, logcnt = to_eplb(checked(placement, path, NAME, context))
    with atomic_write(path, "wb") as file:
        np.savez_compressed(file, phy2log=phy2log, log2phy=log2phy, logcnt=logcnt)


def read(path: str | Path, *, context: ExportContext) -> Placement:
    """Read an npz file with the three arrays, which must agree with each other.

    Raises
    ------
    InputError
        If an array is missing, the arrays contradict each other, or the number of ranks is not
        known.
    """
    data = expect.mapping(read_npz(path), str(path), ("phy2log", "log2phy", "logcnt"))
    phy2log = expect.integer_array(data["phy2log"], f"{path}, array 'phy2log'", 2)
    log2phy = expect.integer_array(data["log2phy"], f"{path}, array 'log2phy'", 3)
    logcnt = expect.integer_array(data["logcnt"], f"{path}, array 'logcnt'", 2)
    if not phy2log.size:
        raise InputError(f"{path}: phy2log is empty")
    num_experts = logcnt.shape[1]
    context.equal_ranks(phy2log.shape[1], path)
    try:
        placement = from_phy2log(
            phy2log,
            context.num_ranks or 0,
            num_experts,
            context.layer_ids(phy2log.shape[0], path),
        )
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    _check_agreement(path, placement, log2phy, logcnt)
    return placement


def usage(placement: Placement, path: str | Path) -> tuple[list[str], list[str]]:
    """No server reads these arrays from a file; they are what EPLB's function returns."""
    del path
    return [], [
        f"phy2log is (layers, {placement.num_slots}); slot s is on rank "
        f"s // {placement.num_slots // placement.num_ranks}"
    ]


def _positions(phy2log: NDArray[np.int64], logcnt: NDArray[np.int64]) -> NDArray[np.int64]:
    layers, experts = logcnt.shape
    log2phy = np.full((layers, experts, int(logcnt.max(initial=0))), -1, np.int64)
    key = np.where(phy2log < 0, experts, phy2log)
    order = np.argsort(key, axis=1, kind="stable")
    first = np.cumsum(logcnt, axis=1) - logcnt
    for layer in range(layers):
        slots = order[layer, : int(logcnt[layer].sum())]
        expert = phy2log[layer, slots]
        log2phy[layer, expert, np.arange(slots.size) - first[layer, expert]] = slots
    return log2phy


def _check_agreement(
    path: str | Path, placement: Placement, log2phy: NDArray[Any], logcnt: NDArray[Any]
) -> None:
    if logcnt.shape != placement.replica_count.shape:
        raise InputError(
            f"{path}: logcnt has shape {logcnt.shape}, phy2log needs "
            f"{placement.replica_count.shape}"
        )
    wrong = np.argwhere(logcnt != placement.replica_count)
    if wrong.size:
        layer, expert = wrong[0]
        raise InputError(
            f"{path}: logcnt says {logcnt[layer, expert]} replicas of expert {expert} in row "
            f"{layer}, phy2log has {placement.replica_count[layer, expert]}"
        )
    _, expected, _ = to_eplb(placement)
    if log2phy.shape[:2] != expected.shape[:2] or log2phy.shape[2] < expected.shape[2]:
        raise InputError(
            f"{path}: log2phy has shape {log2phy.shape}, phy2log needs {expected.shape}"
        )
    # Replicas may be listed in any order, and engines pad wider than needed.
    padded = np.full(log2phy.shape, -1, np.int64)
    padded[:, :, : expected.shape[2]] = expected
    wrong = np.argwhere((np.sort(log2phy, axis=2) != np.sort(padded, axis=2)).any(axis=2))
    if wrong.size:
        layer, expert = wrong[0]
        raise InputError(
            f"{path}: log2phy of expert {expert} in row {layer} does not list the slots where "
            "phy2log has it"
        )
