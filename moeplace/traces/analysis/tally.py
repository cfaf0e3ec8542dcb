"""One pass over a trace that counts everything the analysis needs; memory does not grow with it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from moeplace.errors import InputError, UsageError
from moeplace.traces.reduce import mixed
from moeplace.traces.stored import records, trace_chunks
from moeplace.traces.trace import PHASES

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from moeplace.traces.stored import Trace
    from moeplace.traces.trace import RoutingTrace

WINDOWS = 8
HALVES = 2


@dataclass(frozen=True, eq=False)
class Tally:
    """Counts of a trace.

    Attributes
    ----------
    name
        Of the trace.
    tokens
        Tokens counted.
    num_experts, top_k, layer_ids
        As in the trace; layer ids are 0, 1, ... where they are not known.
    load
        (layers, experts) tokens that use an expert.
    phase_load
        (2, layers, experts) the same in prefill and decode; None where phases are not recorded.
    domain_load
        (domains, layers, experts), or None; `domains` are the names.
    window_load
        (windows, layers, experts): the trace cut into as many stretches of equal length.
    pairs
        (layers, experts, experts) tokens that use both, symmetric, zero diagonal.
    next_layer
        (2, layers − 1, experts, experts): [h, l, e, f] tokens that use e in layer l and f in the
        next recorded layer, in half h of the requests (of the tokens, without requests).
    next_token
        (2, 2, layers, experts, experts): [phase, half, l, e, f] successive tokens of a request of
        which the first uses e and the second f; None without requests. The phase is that of the
        second token; 0 where phases are not recorded.
    steps
        Successive tokens behind `next_token`.
    domains
        Names of the domains.
    """

    name: str
    tokens: int
    num_experts: int
    top_k: int
    layer_ids: tuple[int, ...]
    load: NDArray[np.float64]
    phase_load: NDArray[np.float64] | None
    domain_load: NDArray[np.float64] | None
    window_load: NDArray[np.float64]
    pairs: NDArray[np.float64]
    next_layer: NDArray[np.uint32]
    next_token: NDArray[np.uint32] | None
    steps: int
    domains: tuple[str, ...]

    @property
    def num_layers(self) -> int:
        """Layers recorded."""
        return int(self.load.shape[0])


def tally_trace(
    trace: Trace,
    *,
    phase: str | None = None,
    windows: int = WINDOWS,
    on_tokens: Callable[[int], None] | None = None,
) -> Tally:
    """Count a trace, in memory or stored, in one pass.

    Parameters
    ----------
    trace
        Any trace.
    phase
        Tokens of one phase only.
    windows
        Stretches of equal length for `window_load`.
    on_tokens
        Called with the tokens counted so far, after every chunk.

    Raises
    ------
    UsageError
        If `windows` is not positive or there is no such phase.
    InputError
        If the trace is empty, corrupt, or does not record phases though one is asked for.
    """
    if windows < 1:
        raise UsageError(f"{windows} windows; at least 1 expected")
    counter = _Counter(trace, windows)
    for chunk in trace_chunks(trace, phase):
        counter.add(chunk)
        if on_tokens is not None:
            on_tokens(counter.tokens)
    return counter.finish()


class _Counter:
    """The tables while they are being filled."""

    def __init__(self, trace: Trace, windows: int) -> None:
        layers, experts = trace.num_layers, trace.num_experts
        self.trace, self.tokens, self.windows = trace, 0, windows
        self.has_phase, self.has_request = records(trace, "phase"), records(trace, "request")
        self.domains = trace.domains if records(trace, "domain") else ()
        self.total = max(trace.num_tokens, 1)
        self.pairs = np.zeros((layers, experts, experts), np.uint32)
        self.next_layer = np.zeros((HALVES, max(layers - 1, 0), experts, experts), np.uint32)
        shape = (len(PHASES) if self.has_phase else 1, HALVES, layers, experts, experts)
        self.next_token = np.zeros(shape, np.uint32) if self.has_request else None
        self.phase_load = np.zeros((len(PHASES), layers, experts), np.int64)
        self.domain_load = np.zeros((max(len(self.domains), 1), layers, experts), np.int64)
        self.window_load = np.zeros((windows, layers, experts), np.int64)
        self.steps = 0
        self.last: RoutingTrace | None = None

    def add(self, chunk: RoutingTrace) -> None:
        from moeplace.traces.coactivation_kernels import count_between, count_loads, count_pairs

        ids = chunk.expert_ids
        index = np.arange(self.tokens, self.tokens + chunk.num_tokens)
        count_loads(ids, index * self.windows // self.total, self.window_load)
        if chunk.phase is not None:
            count_loads(ids, chunk.phase.astype(np.int64), self.phase_load)
        if chunk.domain is not None:
            count_loads(ids, chunk.domain.astype(np.int64), self.domain_load)
        unused = np.zeros(chunk.num_experts, np.int64)
        half = half_of(index if chunk.request is None else chunk.request)
        parts = [ids[half == h] for h in range(HALVES)]
        for layer in range(chunk.num_layers):
            count_pairs(ids, layer, self.pairs[layer], unused)
            if layer + 1 < chunk.num_layers:
                for h, part in enumerate(parts):
                    count_between(part[:, layer], part[:, layer + 1], self.next_layer[h, layer])
        self._add_steps(chunk)
        self.tokens += chunk.num_tokens

    def _add_steps(self, chunk: RoutingTrace) -> None:
        from moeplace.traces.coactivation_kernels import count_between

        if self.next_token is None or chunk.request is None:
            return
        pieces = [self.last, chunk] if self.last is not None else [chunk]
        request = np.concatenate([p.request for p in pieces if p.request is not None])
        follows = request[1:] == request[:-1]
        if all(p.position is not None for p in pieces):
            position = np.concatenate([p.position for p in pieces if p.position is not None])
            follows &= position[1:] == position[:-1] + 1
        ids = [p.expert_ids for p in pieces]
        table = np.concatenate(ids) if len({i.dtype for i in ids}) == 1 else _widened(pieces)
        phase = np.zeros(request.size, dtype=np.uint8)
        if self.has_phase:
            phase = np.concatenate([p.phase for p in pieces if p.phase is not None])
        second = np.flatnonzero(follows) + 1
        half = half_of(request)
        self.steps += second.size
        for code in range(self.next_token.shape[0]):
            for h in range(HALVES):
                rows = second[(phase[second] == code) & (half[second] == h)]
                before, after = table[rows - 1], table[rows]
                for layer in range(chunk.num_layers):
                    target = self.next_token[code, h, layer]
                    count_between(before[:, layer], after[:, layer], target)
        self.last = chunk.select(slice(chunk.num_tokens - 1, None))

    def finish(self) -> Tally:
        if not self.tokens:
            raise InputError(f"trace {self.trace.name!r} holds no tokens to count")
        layers = self.trace.layer_ids or tuple(range(self.trace.num_layers))
        upper = self.pairs.astype(np.float64)
        return Tally(
            name=self.trace.name,
            tokens=self.tokens,
            num_experts=self.trace.num_experts,
            top_k=self.trace.top_k,
            layer_ids=layers,
            load=self.window_load.sum(axis=0).astype(np.float64),
            phase_load=self.phase_load.astype(np.float64) if self.has_phase else None,
            domain_load=self.domain_load.astype(np.float64) if self.domains else None,
            window_load=self.window_load.astype(np.float64),
            pairs=upper + upper.transpose(0, 2, 1),
            next_layer=self.next_layer,
            next_token=self.next_token,
            steps=self.steps,
            domains=tuple(self.domains),
        )


def half_of(numbers: NDArray[np.integer[Any]]) -> NDArray[np.int64]:
    """Return 0 or 1 for request numbers, without any pattern in their order."""
    halves: NDArray[np.int64] = (mixed(numbers.astype(np.uint64)) & np.uint64(1)).astype(np.int64)
    return halves


def _widened(pieces: list[RoutingTrace]) -> NDArray[Any]:
    """Put chunks of different id dtypes together; absent ids stay above every expert."""
    parts = []
    for piece in pieces:
        ids = piece.expert_ids.astype(np.uint32)
        if piece.missing >= 0:
            ids[~piece.valid] = np.iinfo(np.uint32).max
        parts.append(ids)
    return np.concatenate(parts)
