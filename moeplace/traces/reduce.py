"""A trace of any length as a workload, in one pass and bounded memory.

Loads are exact. Token sets are exact up to `max_tokens` tokens; beyond, they are those of a uniform
sample of so many tokens, with weights raked to the exact loads. A token is in the sample if the
hash of its number is among the smallest, so the sample does not depend on how the trace is cut.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from moeplace.errors import InputError
from moeplace.traces.anchors import anchor_experts, anchor_transitions, anchored_sets
from moeplace.traces.stored import concatenated, trace_chunks
from moeplace.traces.token_sets import TokenSets, unique_token_sets

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from moeplace.traces.anchors import AnchoredSets
    from moeplace.traces.stored import Trace
    from moeplace.traces.trace import RoutingTrace

MAX_TOKENS = 131_072
RAKE_TOLERANCE = 1e-8
RAKE_SWEEPS = 500
WORST_RAKE = 1e-3  # relative error of a load above which sampled weights stay as drawn


@dataclass(frozen=True, eq=False)
class Reduced:
    """What a workload needs of a trace.

    Exact loads and transitions, token sets (and anchored ones), phases seen, tokens seen, tokens
    behind the sets.
    """

    load: NDArray[np.float64]
    transitions: NDArray[np.float64]
    token_sets: tuple[TokenSets, ...]
    anchored: tuple[AnchoredSets, ...] | None
    phases: frozenset[int]
    tokens: int
    sampled: int


def reduce_trace(
    trace: Trace,
    *,
    phase: str | None = None,
    max_tokens: int = MAX_TOKENS,
    anchored: bool = False,
    on_tokens: Callable[[int], None] | None = None,
) -> Reduced:
    """Read a trace once.

    Parameters
    ----------
    trace
        In memory or stored.
    phase
        Tokens of one phase only.
    max_tokens
        Tokens to keep for the token sets.
    anchored
        Whether to keep anchored sets too.
    on_tokens
        Called with the tokens read so far, after every chunk.

    Raises
    ------
    InputError
        If it holds no tokens, is corrupt, or does not record phases though one is asked for.
    """
    reducer = Reducer(trace, max_tokens, anchored)
    for chunk in trace_chunks(trace, phase):
        reducer.add(chunk)
        if on_tokens is not None:
            on_tokens(reducer.tokens)
    return reducer.finish()


class Reducer:
    """Counts that grow chunk by chunk.

    Parameters
    ----------
    trace
        What the chunks are of.
    max_tokens
        Tokens to keep for the token sets.
    anchored
        Whether to keep anchored sets too.
    """

    def __init__(self, trace: Trace, max_tokens: int, anchored: bool) -> None:
        layers, experts = trace.num_layers, trace.num_experts
        self.tokens = 0
        self._name, self._top_k, self._anchored = trace.name, trace.top_k, anchored
        self._counts = np.zeros((1, layers, experts), np.int64)
        self._transitions = np.zeros((max(layers - 1, 0), experts, experts))
        self._sample = _Sample(max_tokens, anchored)
        self._phases: set[int] = set()

    def add(self, chunk: RoutingTrace) -> None:
        """Count some more tokens."""
        from moeplace.traces.coactivation_kernels import count_loads

        count_loads(chunk.expert_ids, np.zeros(chunk.num_tokens, np.int64), self._counts)
        self._transitions += anchor_transitions(anchor_experts(chunk), self._counts.shape[2])
        self._sample.add(chunk, self.tokens)
        self.tokens += chunk.num_tokens
        self._phases |= set() if chunk.phase is None else set(np.unique(chunk.phase).tolist())

    def finish(self) -> Reduced:
        """Return the counts.

        Raises
        ------
        InputError
            If there was no token.
        """
        if not self.tokens:
            raise InputError(f"trace {self._name!r} holds no tokens")
        kept = self._sample.tokens()
        load = self._counts[0].astype(np.float64)
        sets = [
            unique_token_sets(kept.expert_ids[:, row], kept.missing, load.shape[1])
            for row in range(load.shape[0])
        ]
        sampled = kept.num_tokens < self.tokens
        if sampled:
            sets = [_raked(s, row, self._top_k) for s, row in zip(sets, load, strict=True)]
        chained = anchored_sets(kept, anchor_experts(kept)) if self._anchored else None
        if chained is not None and sampled:
            scale = self.tokens / kept.num_tokens
            chained = tuple(replace(part, weight=part.weight * scale) for part in chained)
        phases = frozenset(self._phases)
        transitions = self._transitions
        return Reduced(
            load, transitions, tuple(sets), chained, phases, self.tokens, kept.num_tokens
        )


class _Sample:
    """The tokens whose hashes are smallest, in recorded order."""

    def __init__(self, size: int, weights: bool) -> None:
        self.size, self.limit = size, np.uint64(np.iinfo(np.uint64).max)
        self.weights = weights
        self.chunks: list[RoutingTrace] = []
        self.hashes: list[NDArray[np.uint64]] = []

    def add(self, chunk: RoutingTrace, first: int) -> None:
        hashes = mixed(np.arange(first, first + chunk.num_tokens, dtype=np.uint64))
        picked = hashes < self.limit
        bare = chunk.replace(
            request=None,
            position=None,
            phase=None,
            domain=None,
            weights=chunk.weights if self.weights else None,
            meta={},
        )
        if picked.any():
            self.chunks.append(bare.select(picked))
            self.hashes.append(hashes[picked])
        if sum(h.size for h in self.hashes) > 2 * self.size:
            self._shrink()

    def tokens(self) -> RoutingTrace:
        if sum(h.size for h in self.hashes) > self.size:
            self._shrink()
        return concatenated(self.chunks)

    def _shrink(self) -> None:
        whole, hashes = concatenated(self.chunks), np.concatenate(self.hashes)
        self.limit = np.partition(hashes, self.size)[self.size]
        picked = hashes < self.limit
        self.chunks, self.hashes = [whole.select(picked)], [hashes[picked]]


def mixed(numbers: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Mix numbers so that any bit depends on all (the finalizer of SplitMix64, Steele 2014)."""
    bits = numbers * np.uint64(0x9E3779B97F4A7C15)
    bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return bits ^ (bits >> np.uint64(31))


def _raked(sets: TokenSets, load: NDArray[np.float64], top_k: int) -> TokenSets:
    """Scale the weights of sampled sets to the loads; experts that no set names are let go."""
    from moeplace.traces.kernels import rake

    full = (sets.ids >= 0).all(axis=1)
    scale = load.sum() / max(float(sets.weight.sum()) * top_k, 1.0)
    weight = sets.weight * scale
    if not full.all() or not sets.num_sets:
        return TokenSets(sets.ids, weight)
    named = np.bincount(sets.ids.ravel(), minlength=load.size) > 0
    target = np.where(named, load, 0.0)
    bent = weight.copy()
    error = float(rake(sets.ids, bent, target, RAKE_TOLERANCE, RAKE_SWEEPS))
    if error <= WORST_RAKE and bent.min() > 0:
        weight = bent
    return TokenSets(sets.ids, weight)
