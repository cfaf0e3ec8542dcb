"""A trace as workloads to fit on and to report on, by phase, in one pass and bounded memory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from moeplace.errors import InputError, UsageError
from moeplace.traces.reduce import MAX_TOKENS, Reducer
from moeplace.traces.stored import StoredTrace, records, trace_chunks
from moeplace.traces.trace import PHASES, SPLIT_BLOCKS
from moeplace.traces.workload import workload_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from moeplace.traces.stored import Trace
    from moeplace.traces.trace import RoutingTrace
    from moeplace.traces.workload import Workload

ByPhase = dict[str | None, "Workload"]


def split_workload(
    trace: Trace,
    fraction: float | None = 0.5,
    seed: int = 0,
    *,
    anchored: bool = False,
    max_tokens: int | None = None,
    on_tokens: Callable[[int], None] | None = None,
) -> tuple[ByPhase, ByPhase, str]:
    """Reduce a trace to workloads of each phase, with a part held out.

    The parts are those of `RoutingTrace.split`: whole requests at random, or up to 20 blocks of
    tokens where requests are not recorded or there is a single one. The tokens are read once; the
    request column of a stored trace is read before. Each workload is that of
    `Workload.from_trace` on its tokens.

    Parameters
    ----------
    trace
        In memory or stored.
    fraction
        Share of the requests (blocks) held out, 0 < fraction < 1; None holds nothing out.
    seed
        Seed of the choice.
    anchored
        Whether to keep the token sets that ``stay`` execution needs.
    max_tokens
        Tokens behind the token sets of a workload; by default all of a trace in memory, 131,072
        of a stored one.
    on_tokens
        Called with the tokens read so far, after every chunk.

    Returns
    -------
    fit, holdout
        Workloads by phase, key None where phases are not recorded.
    by
        ``"request"`` or ``"block"``; empty where nothing is held out.

    Raises
    ------
    UsageError
        If `fraction` is outside its range.
    InputError
        If the trace holds no tokens, or fewer than two to split.
    """
    if fraction is not None and not 0.0 < fraction < 1.0:
        raise UsageError(f"holdout fraction {fraction} must lie between 0 and 1")
    held, by = (None, "") if fraction is None else _choice(trace, fraction, seed)
    if max_tokens is None:
        max_tokens = MAX_TOKENS if isinstance(trace, StoredTrace) else max(trace.num_tokens, 1)
    phased = records(trace, "phase")
    reducers: dict[tuple[bool, int], Reducer] = {}
    first = 0
    for chunk in trace_chunks(trace):
        side = _sides(chunk, first, held, by, trace.num_tokens)
        phase = np.asarray(chunk.phase) if phased else np.zeros(chunk.num_tokens, np.uint8)
        for key in sorted({(bool(s), int(p)) for s in np.unique(side) for p in np.unique(phase)}):
            picked = (side == key[0]) & (phase == key[1])
            if picked.any():
                if key not in reducers:
                    reducers[key] = Reducer(trace, max_tokens, anchored)
                reducers[key].add(chunk if picked.all() else chunk.select(picked))
        first += chunk.num_tokens
        if on_tokens is not None:
            on_tokens(first)
    parts: tuple[ByPhase, ByPhase] = ({}, {})
    for key in sorted(reducers):
        name = PHASES[key[1]] if phased else None
        parts[key[0]][name] = workload_of(trace, reducers[key].finish(), name)
    if not parts[0]:
        raise InputError(f"trace {trace.name!r} holds no tokens")
    return parts[0], parts[1], by


def _choice(trace: Trace, fraction: float, seed: int) -> tuple[NDArray[Any], str]:
    """Return the requests, or the blocks, that are held out."""
    if trace.num_tokens < 2:
        raise InputError(f"trace {trace.name!r} has too few tokens to hold some out")
    known, by = _requests(trace), "request"
    if known.size < 2:
        known, by = np.arange(min(SPLIT_BLOCKS, trace.num_tokens)), "block"
    count = min(max(round(fraction * known.size), 1), known.size - 1)
    return np.random.default_rng(seed).permutation(known)[:count], by


def _requests(trace: Trace) -> NDArray[Any]:
    if not records(trace, "request"):
        return np.zeros(0, np.int32)
    if isinstance(trace, StoredTrace):
        return trace.request_numbers()
    return np.unique(np.asarray(trace.request))


def _sides(
    chunk: RoutingTrace, first: int, held: NDArray[Any] | None, by: str, tokens: int
) -> NDArray[np.bool_]:
    """Return (tokens,) whether each token of a chunk is held out."""
    if held is None:
        return np.zeros(chunk.num_tokens, dtype=bool)
    if by == "request":
        return np.isin(np.asarray(chunk.request), held)
    numbers = np.arange(first, first + chunk.num_tokens)
    return np.isin(numbers * min(SPLIT_BLOCKS, tokens) // tokens, held)
