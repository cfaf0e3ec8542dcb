"""What the parts of a workload must look like; each check raises InputError that says where."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from moeplace.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from moeplace.traces.anchors import AnchoredSets
    from moeplace.traces.token_sets import TokenSets


def row_text(layer_ids: Sequence[int] | None, row: int) -> str:
    """Name a layer in a message, by its id where that is known."""
    if layer_ids is not None and row < len(layer_ids):
        return f"layer {layer_ids[row]} (row {row})"
    return f"layer row {row}"


def check_token_sets(
    sets: tuple[TokenSets, ...], shape: tuple[int, ...], top_k: int | None, where: str
) -> None:
    """Raise InputError unless there is one list of sets a layer, with experts that exist."""
    if len(sets) != shape[0]:
        raise InputError(f"{where}: token sets for {len(sets)} layers, loads for {shape[0]}")
    for row, layer in enumerate(sets):
        if layer.ids.size and int(layer.ids.max()) >= shape[1]:
            raise InputError(
                f"{where}: token sets of layer row {row} name expert {int(layer.ids.max())}; "
                f"the experts are 0..{shape[1] - 1}"
            )
        if top_k is not None and layer.top_k != top_k:
            raise InputError(
                f"{where}: token sets of layer row {row} hold {layer.top_k} experts, top_k is "
                f"{top_k}"
            )


def check_transitions(counts: NDArray[np.float64], shape: tuple[int, ...], where: str) -> None:
    """Raise InputError unless the counts have their shape and are finite and ≥ 0."""
    expected = (shape[0] - 1, shape[1], shape[1])
    if counts.shape != expected:
        raise InputError(
            f"{where}: transition counts have shape {counts.shape}, (layers − 1, experts, experts) "
            f"= {expected} expected"
        )
    if counts.size and not (np.isfinite(counts).all() and counts.min() >= 0):
        raise InputError(f"{where}: transition counts must be finite and ≥ 0")


def check_anchored(anchored: tuple[AnchoredSets, ...], shape: tuple[int, ...], where: str) -> None:
    """Raise InputError unless there is one list of anchored sets a layer, of experts there."""
    if len(anchored) != shape[0]:
        raise InputError(f"{where}: anchored sets for {len(anchored)} layers, loads for {shape[0]}")
    for row, layer in enumerate(anchored):
        largest = max(int(layer.ids.max(initial=-1)), int(layer.before.max(initial=-1)))
        if largest >= shape[1]:
            raise InputError(
                f"{where}: anchored sets of layer row {row} name expert {largest}; the experts "
                f"are 0..{shape[1] - 1}"
            )
