"""A workload: how often the experts of every layer are used, and together with which others."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from moeplace.errors import InputError
from moeplace.traces.anchors import (
    anchor_experts,
    anchor_transitions,
    anchored_sets,
)
from moeplace.traces.arrays import frozen
from moeplace.traces.token_sets import unique_token_sets
from moeplace.traces.trace import PHASES
from moeplace.traces.workload_checks import (
    check_anchored,
    check_token_sets,
    check_transitions,
    row_text,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import ArrayLike, NDArray

    from moeplace.models import ModelSpec
    from moeplace.traces.anchors import AnchoredSets
    from moeplace.traces.reduce import Reduced
    from moeplace.traces.stored import StoredTrace
    from moeplace.traces.token_sets import TokenSets
    from moeplace.traces.trace import RoutingTrace

Kind = Literal["measured", "synthetic"]


@dataclass(frozen=True, eq=False)
class Workload:
    """Expert loads of every layer, with the token sets behind them where they are known.

    Attributes
    ----------
    load
        (layers, experts) float64, tokens routed to each expert.
    top_k
        Routed experts per token, or None if not known.
    layer_ids
        Absolute layer ids of the rows, or None if not known.
    name
        What to call it.
    kind
        Where the loads come from: ``"measured"`` or ``"synthetic"``.
    token_sets
        One `TokenSets` a layer, or None for a workload known by its loads alone.
    token_sets_kind
        Where the token sets come from, or None without them.
    phase
        ``"prefill"``, ``"decode"``, or None for a mixture.
    num_tokens
        Tokens behind a layer (the most over the layers); 0 if not known.
    source
        Where the numbers come from, for reports.
    transition_counts
        (layers − 1, experts, experts) tokens by anchor (the expert of their largest router
        weight) in a MoE layer and in the next, or None if not known; see :meth:`transition`.
    anchored
        One `AnchoredSets` a layer, or None; what ``stay`` execution is scored with.
    """

    load: NDArray[np.float64]
    top_k: int | None = None
    layer_ids: tuple[int, ...] | None = None
    name: str = "workload"
    kind: Kind = "measured"
    token_sets: tuple[TokenSets, ...] | None = None
    token_sets_kind: Kind | None = None
    phase: str | None = None
    num_tokens: int = 0
    source: str = ""
    transition_counts: NDArray[np.float64] | None = None
    anchored: tuple[AnchoredSets, ...] | None = None

    def __post_init__(self) -> None:
        load = frozen(self.load, np.float64)
        where = f"workload {self.name!r}"
        if load.ndim != 2 or not load.size:
            raise InputError(f"{where}: load has shape {load.shape}, (layers, experts) expected")
        bad = ~(np.isfinite(load) & (load >= 0))
        if bad.any():
            row, expert = (int(i) for i in np.argwhere(bad)[0])
            raise InputError(
                f"{where}: load {load[row, expert]} of expert {expert} in "
                f"{row_text(self.layer_ids, row)}; loads must be finite and ≥ 0"
            )
        if not load.any():
            raise InputError(f"{where}: every load is zero; record some tokens first")
        if self.top_k is not None and not 1 <= self.top_k <= load.shape[1]:
            raise InputError(f"{where}: top_k {self.top_k} of {load.shape[1]} experts")
        if self.phase is not None and self.phase not in PHASES:
            raise InputError(f"{where}: phase {self.phase!r} is neither prefill nor decode")
        if self.layer_ids is not None:
            ids = tuple(int(i) for i in self.layer_ids)
            if len(ids) != load.shape[0] or len(set(ids)) != len(ids):
                raise InputError(
                    f"{where}: {len(ids)} layer ids for {load.shape[0]} rows; "
                    "give each row one id, no id twice"
                )
            object.__setattr__(self, "layer_ids", ids)
        if self.token_sets is not None:
            object.__setattr__(self, "token_sets", tuple(self.token_sets))
            check_token_sets(self.token_sets, load.shape, self.top_k, where)
        if self.transition_counts is not None:
            counts = frozen(self.transition_counts, np.float64)
            check_transitions(counts, load.shape, where)
            object.__setattr__(self, "transition_counts", counts)
        if self.anchored is not None:
            object.__setattr__(self, "anchored", tuple(self.anchored))
            check_anchored(self.anchored, load.shape, where)
        object.__setattr__(self, "load", load)

    @classmethod
    def from_trace(
        cls,
        trace: RoutingTrace | StoredTrace,
        *,
        phase: str | None = None,
        name: str | None = None,
        anchored: bool = False,
        max_tokens: int | None = None,
        on_tokens: Callable[[int], None] | None = None,
    ) -> Workload:
        """Reduce a trace to exact loads, weighted unique token sets and transitions.

        A stored trace is read once in bounded memory. Loads and transitions are exact; above
        `max_tokens` the token sets are those of a uniform sample, with weights raked to the loads,
        and `source` says so.

        Parameters
        ----------
        trace
            The recorded tokens, in memory or stored (`open_trace`).
        phase
            Take the tokens of one phase only.
        name
            What to call the workload; the name of the trace by default.
        anchored
            Also keep token sets with the anchors before and in their layer, which ``stay``
            execution needs; they take at most as many rows as there are tokens.
        max_tokens
            Tokens behind the token sets; by default all of a trace in memory, 131,072 of a stored
            one.
        on_tokens
            Called with the tokens of a stored trace read so far.

        Raises
        ------
        InputError
            If no token is left, or the phase is not recorded.
        """
        from moeplace.traces.stored import StoredTrace

        if isinstance(trace, StoredTrace) or max_tokens is not None:
            return _from_pass(trace, phase, name, anchored, max_tokens, on_tokens)
        if phase is not None:
            trace = trace.select_phase(phase)
        elif trace.phase is not None and trace.num_tokens and np.ptp(trace.phase) == 0:
            phase = PHASES[int(trace.phase[0])]
        if not trace.num_tokens:
            raise InputError(f"trace {trace.name!r} holds no tokens")
        sets = tuple(
            unique_token_sets(trace.expert_ids[:, row], trace.missing, trace.num_experts)
            for row in range(trace.num_layers)
        )
        anchors = anchor_experts(trace)
        return cls(
            load=np.stack([s.load(trace.num_experts) for s in sets]),
            top_k=trace.top_k,
            layer_ids=trace.layer_ids,
            name=name or trace.name,
            token_sets=sets,
            token_sets_kind="measured",
            phase=phase,
            num_tokens=round(max(s.total_weight for s in sets)),
            source=str(trace.meta.get("source", "")),
            transition_counts=anchor_transitions(anchors, trace.num_experts),
            anchored=anchored_sets(trace, anchors) if anchored else None,
        )

    @classmethod
    def from_loads(
        cls,
        load: ArrayLike,
        *,
        top_k: int | None = None,
        layer_ids: Sequence[int] | None = None,
        name: str = "loads",
        phase: str | None = None,
        kind: Kind = "measured",
        source: str = "",
    ) -> Workload:
        """Build a workload that is known by its loads alone.

        Rows of zeros are allowed until `bind` (engines record dense layers so), unless
        `layer_ids` says that every row is a MoE layer.

        Parameters
        ----------
        load
            (layers, experts) tokens routed to each expert; any unit, only shares matter.
        top_k
            Routed experts per token.
        layer_ids
            Absolute layer ids of the rows.
        name
            What to call it.
        phase
            ``"prefill"``, ``"decode"`` or None.
        kind
            ``"measured"`` or ``"synthetic"``.
        source
            Where the numbers come from.

        Raises
        ------
        InputError
            If a load is NaN, infinite or negative (layer and expert are named), the shape is
            wrong, or nothing is loaded.
        """
        try:
            array = np.asarray(load, dtype=np.float64)
        except (TypeError, ValueError) as error:
            raise InputError(
                f"workload {name!r}: load is not a (layers, experts) table of numbers"
            ) from error
        ids = None if layer_ids is None else tuple(layer_ids)
        workload = cls(array, top_k, ids, name, kind, phase=phase, source=source)
        if ids is not None and not workload.load.any(axis=1).all():
            row = int(np.flatnonzero(~workload.load.any(axis=1))[0])
            raise InputError(f"workload {name!r}: {row_text(ids, row)} has no load at all")
        return workload.replace(num_tokens=_tokens_behind(workload.load, top_k))

    @property
    def num_layers(self) -> int:
        """Rows of `load`."""
        return int(self.load.shape[0])

    @property
    def num_experts(self) -> int:
        """Logical experts per layer."""
        return int(self.load.shape[1])

    def coactivation(self) -> NDArray[np.float64]:
        """Return (layers, experts, experts): tokens that use both experts, zero diagonal.

        Raises
        ------
        InputError
            If the workload is known by its loads alone.
        """
        if self.token_sets is None:
            raise InputError(
                f"workload {self.name!r} is known by its loads alone, which do not say which "
                "experts go together; give a token-level trace or synthesize token sets"
            )
        return np.stack([s.coactivation(self.num_experts) for s in self.token_sets])

    def transition(self) -> NDArray[np.float64]:
        """Return (layers − 1, experts, experts): tokens by anchor in a layer and in the next.

        A token's anchor is the expert of its largest router weight; where a trace has no weights,
        the expert it lists first.

        Raises
        ------
        InputError
            If the workload is known by its loads or token sets alone.
        """
        if self.transition_counts is None:
            raise InputError(
                f"workload {self.name!r} does not know which expert follows which: loads and token "
                "sets of single layers do not say it; give a token-level trace with all layers of "
                "each token"
            )
        return self.transition_counts

    def select_layers(self, indices: Sequence[int]) -> Workload:
        """Return the workload of some rows, in the order given.

        Transitions stay known where every two rows follow each other in the model too; rows
        without any load may be left out between them.

        Parameters
        ----------
        indices
            Row numbers (not absolute layer ids).

        Raises
        ------
        InputError
            If a row does not exist, or none is given.
        """
        rows = [int(i) for i in indices]
        if not rows or min(rows) < 0 or max(rows) >= self.num_layers:
            raise InputError(
                f"workload {self.name!r} has rows 0..{self.num_layers - 1}, asked for {rows}"
            )
        sets, ids = self.token_sets, self.layer_ids
        loaded: NDArray[np.bool_] = self.load.sum(axis=1) > 0
        follow = all(b > a and loaded[a] and not loaded[a + 1 : b].any() for a, b in pairwise(rows))
        counts = self.transition_counts if follow else None
        anchored = self.anchored if follow else None
        return self.replace(
            load=self.load[rows],
            layer_ids=None if ids is None else tuple(ids[r] for r in rows),
            token_sets=None if sets is None else tuple(sets[r] for r in rows),
            transition_counts=None if counts is None else counts[rows[:-1]],
            anchored=None if anchored is None else tuple(anchored[r] for r in rows),
        )

    def with_token_sets(self, sets: Sequence[TokenSets], kind: Kind) -> Workload:
        """Return the workload with token sets beside its loads.

        Parameters
        ----------
        sets
            One a layer.
        kind
            ``"measured"`` or ``"synthetic"``.
        """
        return self.replace(token_sets=tuple(sets), token_sets_kind=kind)

    def bind(self, model: ModelSpec) -> Workload:
        """Check the workload against a model and put absolute layer ids on its rows.

        Without layer ids there must be one row for each MoE layer, or one for each layer with
        zeros in the dense ones (SGLang's recorder); rows of dense layers are dropped.

        Parameters
        ----------
        model
            The model that is to be placed.

        Returns
        -------
        Workload
            With `layer_ids` and `top_k` set; every row is a MoE layer with some load.

        Raises
        ------
        InputError
            If experts, top_k or layers are those of another model.
        """
        where = f"workload {self.name!r}"
        if self.num_experts != model.num_experts:
            raise InputError(
                f"{where} has {self.num_experts} experts a layer, {model.name} has "
                f"{model.num_experts}: this is a trace of another model"
            )
        if self.top_k is not None and self.top_k != model.top_k:
            raise InputError(
                f"{where} routes a token to {self.top_k} experts, {model.name} to "
                f"{model.top_k}: this is a trace of another model"
            )
        ids = self.layer_ids
        if ids is None:
            if self.num_layers == len(model.moe_layers):
                ids = tuple(model.moe_layers)
            elif self.num_layers == model.num_layers:
                ids = tuple(range(model.num_layers))
            else:
                raise InputError(
                    f"{where} has {self.num_layers} rows; {model.name} has "
                    f"{len(model.moe_layers)} MoE layers of {model.num_layers}: this is a trace "
                    "of another model, or layer ids are needed"
                )
        moe = set(model.moe_layers)
        for row, layer in enumerate(ids):
            loaded = bool(self.load[row].any())
            if layer in moe and not loaded:
                raise InputError(f"{where}: MoE layer {layer} (row {row}) has no load at all")
            if layer not in moe and loaded:
                raise InputError(
                    f"{where} has load in layer {layer}, which is no MoE layer of {model.name}: "
                    "this is a trace of another model"
                )
        bound = self.replace(layer_ids=ids, top_k=int(model.top_k))
        keep = [row for row, layer in enumerate(ids) if layer in moe]
        if len(keep) < len(ids):
            bound = bound.select_layers(keep)
        if not bound.num_tokens:
            bound = bound.replace(num_tokens=_tokens_behind(bound.load, bound.top_k))
        return bound

    def fingerprint(self, *, anchored: bool = False) -> str:
        """Return a SHA-256 (hex) of everything a placement depends on; names do not count.

        Parameters
        ----------
        anchored
            Count the anchored sets too, on which ``stay`` execution depends.
        """
        digest = hashlib.sha256()
        head = ("moeplace.workload/1", self.load.shape, self.top_k, self.layer_ids, self.phase)
        digest.update(repr(head).encode())
        digest.update(np.ascontiguousarray(self.load, dtype="<f8").tobytes())
        for sets in self.token_sets or ():
            digest.update(repr(sets.ids.shape).encode())
            digest.update(np.ascontiguousarray(sets.ids, dtype="<i4").tobytes())
            digest.update(np.ascontiguousarray(sets.weight, dtype="<f8").tobytes())
        for chained in (self.anchored or ()) if anchored else ():
            for part in (chained.ids, chained.before, chained.anchor):
                digest.update(repr(part.shape).encode())
                digest.update(np.ascontiguousarray(part, dtype="<i4").tobytes())
            digest.update(np.ascontiguousarray(chained.weight, dtype="<f8").tobytes())
        return digest.hexdigest()

    def replace(self, **changes: Any) -> Workload:
        """Return a copy with some attributes changed."""
        return replace(self, **changes)


def _from_pass(
    trace: RoutingTrace | StoredTrace,
    phase: str | None,
    name: str | None,
    anchored: bool,
    max_tokens: int | None,
    on_tokens: Callable[[int], None] | None,
) -> Workload:
    from moeplace.traces.reduce import MAX_TOKENS, reduce_trace

    found = reduce_trace(
        trace,
        phase=phase,
        max_tokens=max_tokens or MAX_TOKENS,
        anchored=anchored,
        on_tokens=on_tokens,
    )
    if phase is None and len(found.phases) == 1:
        phase = PHASES[min(found.phases)]
    return workload_of(trace, found, phase, name)


def workload_of(
    trace: RoutingTrace | StoredTrace, found: Reduced, phase: str | None, name: str | None = None
) -> Workload:
    """Return what was counted in tokens of a trace as a workload.

    Parameters
    ----------
    trace
        Says layers, top_k and source.
    found
        The counts.
    phase
        Phase of the tokens, None for a mixture.
    name
        What to call it; the name of the trace by default.
    """
    source = str(trace.meta.get("source", ""))
    if found.sampled < found.tokens:
        note = f"token sets from {found.sampled:,} of {found.tokens:,} tokens"
        source = f"{source}; {note}" if source else note
    return Workload(
        load=found.load,
        top_k=trace.top_k,
        layer_ids=trace.layer_ids,
        name=name or trace.name,
        token_sets=found.token_sets,
        token_sets_kind="measured",
        phase=phase,
        num_tokens=round(max(s.total_weight for s in found.token_sets)),
        source=source,
        transition_counts=found.transitions,
        anchored=found.anchored,
    )


def _tokens_behind(load: NDArray[np.float64], top_k: int | None) -> int:
    return 0 if top_k is None else round(float(load.sum(axis=1).max()) / top_k)
