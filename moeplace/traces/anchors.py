"""Where a token goes from layer to layer: its main expert, and token sets that remember it.

The *anchor* of a token in a layer is the expert with its largest router weight. Under ``stay``
execution (ExFlow, arXiv 2401.08383) the token lives on the rank of its anchor until the next MoE
layer. Traces without router weights take the expert listed first: routers return them by falling
weight and most recorders keep that order.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from moeplace.errors import InputError
from moeplace.traces.arrays import frozen
from moeplace.traces.token_sets import distinct_rows, packed_keys

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from moeplace.traces.trace import RoutingTrace

LEAST = np.float32(-3e38)


@dataclass(frozen=True, eq=False)
class AnchoredSets:
    """The expert sets of one layer with the anchors before and in it; arrays are read-only.

    Attributes
    ----------
    ids
        (rows, top_k) int32, experts of a set, −1 pads shorter sets.
    before
        (rows,) int32, the token's anchor in the MoE layer before, −1 where it has none.
    anchor
        (rows,) int32, the token's anchor in this layer, one of `ids`.
    weight
        (rows,) float64 > 0, tokens that have all of this in common.
    """

    ids: NDArray[np.int32]
    before: NDArray[np.int32]
    anchor: NDArray[np.int32]
    weight: NDArray[np.float64]

    def __post_init__(self) -> None:
        for name in ("ids", "before", "anchor"):
            object.__setattr__(self, name, frozen(getattr(self, name), np.int32))
        object.__setattr__(self, "weight", frozen(self.weight, np.float64))
        rows = self.weight.size
        if self.ids.shape[:1] != (rows,) or self.ids.ndim != 2:
            raise InputError(f"anchored sets: ids {self.ids.shape} for {rows} weights")
        if self.before.shape != (rows,) or self.anchor.shape != (rows,):
            raise InputError(f"anchored sets: one anchor before and in the layer for {rows} rows")
        if rows and not (np.isfinite(self.weight).all() and self.weight.min() > 0):
            raise InputError("anchored sets: weights must be finite and > 0")
        if rows and (self.before.min() < -1 or self.anchor.min() < 0):
            raise InputError("anchored sets: anchors are experts; only `before` may be −1")
        if not (self.ids == self.anchor[:, None]).any(axis=1).all():
            raise InputError("anchored sets: the anchor must be one of the token's experts")

    def transition(self, num_experts: int) -> NDArray[np.float64]:
        """Return (experts, experts) tokens that go from anchor e before to anchor f here.

        Parameters
        ----------
        num_experts
            Logical experts in the layer.
        """
        return _pair_counts(self.before, self.anchor, self.weight, num_experts)


def anchor_experts(trace: RoutingTrace) -> NDArray[np.int32]:
    """Return (tokens, layers) the anchor of every token, −1 where it has no expert.

    Parameters
    ----------
    trace
        Any trace; without router weights its first listed expert is the anchor.
    """
    anchors = np.empty(trace.expert_ids.shape[:2], np.int32)
    for row in range(trace.num_layers):  # one layer at a time: bounded memory
        ids = trace.expert_ids[:, row]
        valid = ids != trace.missing if trace.missing >= 0 else np.ones(ids.shape, bool)
        rating = valid.astype(np.float32)
        if trace.weights is not None:
            known = np.fmax(trace.weights[:, row], LEAST)  # NaN is no weight
            rating = np.where(valid, known, -np.inf).astype(np.float32)
        best = rating.argmax(axis=1)[:, None]
        chosen = np.take_along_axis(ids, best, axis=1)[:, 0].astype(np.int32)
        anchors[:, row] = np.where(valid.any(axis=1), chosen, -1)
    return anchors


def anchor_transitions(anchors: NDArray[np.int32], num_experts: int) -> NDArray[np.float64]:
    """Return (layers − 1, experts, experts) tokens by anchor in a layer and in the next.

    The next layer of a row is the next one in which any token has an expert, so that dense layers
    between are skipped.

    Parameters
    ----------
    anchors
        (tokens, layers), −1 where a token has no expert.
    num_experts
        Logical experts in a layer.
    """
    before = _row_before(anchors)
    layers = anchors.shape[1]
    counts = np.zeros((max(layers - 1, 0), num_experts, num_experts))
    for row in range(layers):
        if before[row] >= 0:
            counts[before[row]] = _pair_counts(
                anchors[:, before[row]], anchors[:, row], None, num_experts
            )
    return counts


def anchored_sets(trace: RoutingTrace, anchors: NDArray[np.int32]) -> tuple[AnchoredSets, ...]:
    """Count, in each layer, the tokens alike in anchor before, expert set and anchor.

    Parameters
    ----------
    trace
        Any trace.
    anchors
        (tokens, layers) of :func:`anchor_experts`.

    Returns
    -------
    tuple of AnchoredSets
        One a layer; never more rows than tokens.
    """
    previous = _row_before(anchors)
    layers = []
    for row in range(trace.num_layers):
        here = anchors[:, row]
        present = here >= 0
        before = np.full(here.size, -1, np.int32)
        if previous[row] >= 0:
            before = anchors[:, previous[row]]
        ordered = np.sort(trace.expert_ids[present, row], axis=1)
        side = np.uint64(trace.num_experts + 1)
        pair = (before[present] + 1).astype(np.uint64) * side + here[present].astype(np.uint64)
        first, counts = distinct_rows([*packed_keys(ordered, trace.num_experts), pair])
        ids = ordered[first].astype(np.int32)
        if trace.missing >= 0:
            ids[ordered[first] == trace.missing] = -1
        kept = present.nonzero()[0][first]
        layers.append(AnchoredSets(ids, before[kept], here[kept], counts.astype(np.float64)))
    return tuple(layers)


def _row_before(anchors: NDArray[np.int32]) -> list[int]:
    """Return, for each row, the last row before it in which any token has an expert, or −1."""
    rows, last = [], -1
    for row in range(anchors.shape[1]):
        loaded = bool((anchors[:, row] >= 0).any())
        rows.append(last if loaded else -1)
        last = row if loaded else last
    return rows


def _pair_counts(
    first: NDArray[np.int32],
    second: NDArray[np.int32],
    weight: NDArray[np.float64] | None,
    num_experts: int,
) -> NDArray[np.float64]:
    both = (first >= 0) & (second >= 0)
    keys = first[both].astype(np.int64) * num_experts + second[both]
    counts = np.bincount(
        keys, None if weight is None else weight[both], minlength=num_experts * num_experts
    )
    return counts.reshape(num_experts, num_experts).astype(np.float64)
