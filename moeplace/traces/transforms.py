"""Traces cut, joined and thinned, without holding them: from files to files."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from moeplace.errors import InputError, UsageError
from moeplace.files import atomic_write
from moeplace.traces.parquet import META, trace_metadata, write_parquet_file
from moeplace.traces.stored import StoredTrace, concatenated, records, trace_chunks

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray

    from moeplace.traces.stored import Trace
    from moeplace.traces.trace import RoutingTrace

WAYS = ("request", "time", "domain")
PART_TOKENS = 1 << 20


def split_trace(
    trace: Trace, output: str | Path, *, by: str = "request", fraction: float = 0.5, seed: int = 0
) -> list[Path]:
    """Write a trace as several: OUT-fit and OUT-holdout, or one a domain.

    Parameters
    ----------
    trace
        In memory or stored; a stored one is read once or twice.
    output
        Path that the names start with; its suffix decides the format.
    by
        ``"request"``: whole requests at random; ``"time"``: the last part of the tokens;
        ``"domain"``: OUT-<domain> for each domain.
    fraction
        Share of the requests or tokens that goes to the holdout, 0 < fraction < 1.
    seed
        Seed of the choice of requests.

    Returns
    -------
    list
        The files, in the order fit, holdout, or of the domains.

    Raises
    ------
    UsageError
        If `by` or `fraction` is out of range.
    InputError
        If requests or domains are not recorded, or a side would be empty.
    """
    if by not in WAYS:
        raise UsageError(f"cannot split by {by!r}; use {', '.join(WAYS)}")
    if not 0.0 < fraction < 1.0:
        raise UsageError(f"fraction {fraction} must lie between 0 and 1")
    target = Path(output)
    names = ["fit", "holdout"]
    if by == "domain":
        _needs(trace, "domain")
        names = [_plain(name) for name in trace.domains]
        if len(set(names)) < len(names):
            names = [f"{i}-{name}" for i, name in enumerate(names)]
    held = None
    if by == "request":
        _needs(trace, "request")
        held = _held_requests(trace, fraction, seed)
    edge = round((1.0 - fraction) * trace.num_tokens)

    def side_of(chunk: RoutingTrace, first: int) -> Any:
        if by == "domain":
            return chunk.domain
        if held is not None:
            return np.isin(np.asarray(chunk.request), held).astype(int)
        return (np.arange(chunk.num_tokens) + first >= edge).astype(int)

    paths = [target.with_name(f"{target.stem}-{name}{target.suffix}") for name in names]
    written = []
    for side, path in enumerate(paths):
        chunks = (
            chunk.select(code == side)
            for chunk, code in _coded(trace, side_of)
            if (code == side).any()
        )
        if write_chunks(chunks, path, name=path.stem):
            written.append(path)
        elif by != "domain":
            raise InputError(f"trace {trace.name!r}: nothing would be left in {path.name}")
    return written


def window_trace(trace: Trace, start: int, stop: int) -> Iterator[RoutingTrace]:
    """Yield the tokens `start` to `stop` − 1, in recorded order.

    Parameters
    ----------
    trace
        In memory or stored.
    start, stop
        Token numbers, 0 ≤ start < stop.

    Raises
    ------
    UsageError
        If the window is empty or starts behind the end.
    """
    if not 0 <= start < stop or start >= trace.num_tokens:
        raise UsageError(f"window {start}:{stop} of {trace.num_tokens:,} tokens is empty")
    first = 0
    for chunk in trace_chunks(trace):
        low, high = max(start - first, 0), min(stop - first, chunk.num_tokens)
        if low < high:
            yield chunk.select(slice(low, high))
        first += chunk.num_tokens
        if first >= stop:
            return


def sample_trace(
    trace: Trace, *, requests: int | None = None, tokens: int | None = None, seed: int = 0
) -> Iterator[RoutingTrace]:
    """Yield some requests, or some single tokens, chosen at random, in recorded order.

    Parameters
    ----------
    trace
        In memory or stored; read once, twice for requests.
    requests
        How many requests to keep; all if there are fewer.
    tokens
        How many tokens to keep, instead.
    seed
        Seed of the choice.

    Raises
    ------
    UsageError
        If not exactly one of the numbers is given, or it is not positive.
    InputError
        If requests are not recorded.
    """
    if (requests is None) == (tokens is None) or min(requests or 1, tokens or 1) < 1:
        raise UsageError("give a positive number of requests, or of tokens")
    rng = np.random.default_rng(seed)
    if requests is not None:
        _needs(trace, "request")
        known = request_numbers(trace)
        kept = np.sort(rng.permutation(known)[:requests])
        for chunk in trace_chunks(trace):
            mask = np.isin(np.asarray(chunk.request), kept)
            if mask.any():
                yield chunk.select(mask)
        return
    chosen = np.sort(
        rng.choice(trace.num_tokens, min(tokens or 0, trace.num_tokens), replace=False)
    )
    first = 0
    for chunk in trace_chunks(trace):
        low, high = np.searchsorted(chosen, [first, first + chunk.num_tokens])
        if high > low:
            yield chunk.select(chosen[low:high] - first)
        first += chunk.num_tokens


def merge_traces(traces: Sequence[Trace]) -> Iterator[RoutingTrace]:
    """Yield the tokens of several traces of one model one after the other; requests stay apart.

    Raises
    ------
    InputError
        If experts, top_k or layers differ.
    """
    first = traces[0]
    ours = (first.num_experts, first.top_k, first.num_layers, first.layer_ids)
    domains = tuple(dict.fromkeys(name for trace in traces for name in trace.domains))
    shared = {
        column
        for column in ("request", "position", "phase", "domain", "weights")
        if all(records(trace, column) for trace in traces)
    }
    offset = 0
    for trace in traces:
        theirs = (trace.num_experts, trace.top_k, trace.num_layers, trace.layer_ids)
        if ours != theirs:
            raise InputError(
                f"traces {first.name!r} and {trace.name!r} differ in experts, top_k or layers; "
                "merge traces of one model and the same layers"
            )
        codes = np.array([domains.index(name) for name in trace.domains], dtype=np.int16)
        last = -1
        for chunk in trace_chunks(trace):
            changes: dict[str, Any] = {
                column: None
                for column in ("request", "position", "phase", "domain", "weights")
                if column not in shared
            }
            if "request" in shared and chunk.request is not None:
                changes["request"] = chunk.request + np.int32(offset)
                last = max(last, int(chunk.request.max()))
            if "domain" in shared:
                changes |= {"domain": codes[chunk.domain], "domains": domains}
            yield replace(chunk, **changes)
        offset += last + 1


def write_chunks(chunks: Iterator[RoutingTrace], output: str | Path, *, name: str) -> int:
    """Write chunks of one trace; the name decides the format.

    A folder is written part by part and never held; one file (.npz, .parquet) is.

    Parameters
    ----------
    chunks
        As `trace_chunks` yields them.
    output
        `X.npz`, `X.parquet` or a folder.
    name
        What to call the trace.

    Returns
    -------
    int
        Tokens written; with 0, nothing was.

    Raises
    ------
    InputError
        If it cannot be written there.
    """
    from moeplace.traces.io import save_trace

    target = Path(output)
    if target.suffix:
        parts = list(chunks)
        if not parts:
            return 0
        whole = concatenated(parts).replace(name=name)
        save_trace(whole, target)
        return whole.num_tokens
    if target.exists() and not (target / META).is_file():
        raise InputError(f"{target} exists and is no trace; choose another name")
    partial = target.with_name(target.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        partial.mkdir()
        meta, tokens = _write_parts(chunks, partial, name)
        if not meta:
            partial.rmdir()
            return 0
        with atomic_write(partial / META) as file:
            file.write(json.dumps(meta, indent=1, ensure_ascii=False) + "\n")
        if target.exists():
            shutil.rmtree(target)
        partial.rename(target)
    except OSError as error:
        raise InputError(f"cannot write {target}: {error.strerror or error}") from error
    except InputError:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    return tokens


def request_numbers(trace: Trace) -> NDArray[np.int32]:
    """Return the request numbers of a trace, ascending."""
    if isinstance(trace, StoredTrace):
        return trace.request_numbers()
    found: NDArray[np.int32] = np.zeros(0, dtype=np.int32)
    for chunk in trace_chunks(trace):
        if chunk.request is not None:
            found = np.union1d(found, chunk.request)
    return found


def _write_parts(
    chunks: Iterator[RoutingTrace], partial: Path, name: str
) -> tuple[dict[str, Any], int]:
    waiting: list[RoutingTrace] = []
    meta: dict[str, Any] = {}
    tokens = 0
    parts: list[dict[str, Any]] = []

    def flush() -> None:
        whole = concatenated(waiting).replace(name=name)
        file = partial / f"part-{len(parts):05d}.parquet"
        write_parquet_file(whole, file)
        parts.append({"file": file.name, "tokens": whole.num_tokens, "request_offset": 0})
        meta.update(trace_metadata(whole) | {"missing": None})
        waiting.clear()

    for chunk in chunks:
        waiting.append(chunk)
        tokens += chunk.num_tokens
        if sum(c.num_tokens for c in waiting) >= PART_TOKENS:
            flush()
    if waiting:
        flush()
    return (meta | {"parts": parts} if parts else {}), tokens


def _coded(
    trace: Trace, choose: Callable[[RoutingTrace, int], Any]
) -> Iterator[tuple[RoutingTrace, Any]]:
    first = 0
    for chunk in trace_chunks(trace):
        yield chunk, choose(chunk, first)
        first += chunk.num_tokens


def _held_requests(trace: Trace, fraction: float, seed: int) -> NDArray[np.int32]:
    known = request_numbers(trace)
    if known.size < 2:
        raise InputError(f"trace {trace.name!r} has a single request; split it by time")
    count = min(max(round(fraction * known.size), 1), known.size - 1)
    return np.random.default_rng(seed).permutation(known)[:count]


def _needs(trace: Trace, column: str) -> None:
    if not records(trace, column):
        raise InputError(f"trace {trace.name!r} does not record {column}s")


def _plain(name: str) -> str:
    return "".join(c if c.isalnum() or c in "-._" else "_" for c in name) or "unnamed"
