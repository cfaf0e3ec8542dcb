"""Loads over time: a trace, several load files or a generator, cut into windows."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from moeplace.errors import InputError, UsageError
from moeplace.traces.stored import StoredTrace, records, trace_chunks

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray

    from moeplace.traces import Workload
    from moeplace.traces.trace import RoutingTrace

WAYS = ("tokens", "requests", "position")


@dataclass(frozen=True, eq=False)
class Window:
    """A stretch of time.

    Attributes
    ----------
    load
        (layers, experts) float64 tokens routed to each expert, any unit.
    tokens
        The tokens themselves where they are kept, None where loads alone are known.
    label
        Where it comes from, for example the name of a load file.
    """

    load: NDArray[np.float64]
    tokens: RoutingTrace | None = None
    label: str = ""


@dataclass(frozen=True, eq=False)
class Windows:
    """Windows in order; can be gone through again, one is held at a time.

    Attributes
    ----------
    name
        What to call them in reports.
    kind
        ``measured`` or ``synthetic``.
    num_layers, num_experts
        Shape of every load.
    layer_ids
        Absolute layer ids of the rows, None if not known.
    top_k
        Routed experts per token, None if not known.
    count
        How many there are.
    make
        Starts an iterator over them.
    """

    name: str
    kind: str
    num_layers: int
    num_experts: int
    count: int
    make: Callable[[], Iterator[Window]]
    layer_ids: tuple[int, ...] | None = None
    top_k: int | None = None

    def __iter__(self) -> Iterator[Window]:
        return self.make()

    def __len__(self) -> int:
        return self.count

    def first(self) -> Window:
        """Return the first window."""
        return next(iter(self))


def trace_windows(
    trace: RoutingTrace | StoredTrace,
    *,
    windows: int | None = None,
    size: int | None = None,
    by: str = "tokens",
    phase: str | None = None,
    keep_tokens: bool = False,
) -> Windows:
    """Cut a trace into windows; a stored one is read in bounded memory, once for every pass.

    Parameters
    ----------
    trace
        Recorded tokens, in memory or stored.
    windows, size
        How many windows, or how large each is; give one. The last window may be smaller.
    by
        What `size` counts: ``tokens`` in recorded order, ``requests`` in recorded order (a request
        ends where its number changes), or ``position``: a window holds the tokens of all requests
        whose positions fall into the same `size` successive ones.
    phase
        Take the tokens of one phase only.
    keep_tokens
        Also hand out each window's tokens, for scores with measured token sets; not by position.

    Raises
    ------
    UsageError
        If `by` is unknown, or not exactly one of `windows` and `size` is given and positive.
    InputError
        If the trace does not record what `by` needs, or has no tokens.
    """
    if by not in WAYS:
        raise UsageError(f"cannot cut windows by {by!r}; use {', '.join(WAYS)}")
    if (windows is None) == (size is None) or (windows or size or 0) < 1:
        raise UsageError("give either how many windows or how large one is, at least 1")
    if by != "tokens" and not records(trace, "request" if by == "requests" else by):
        raise InputError(f"trace {trace.name!r} does not record {by}; cut windows by tokens")
    if by == "position" and keep_tokens:
        raise UsageError("windows by position hold loads only; cut by tokens or requests")
    units = _units(trace, by, phase)
    if not units:
        raise InputError(f"trace {trace.name!r} holds no tokens of this phase")
    per = size if size is not None else -(-units // min(int(windows or 1), units))
    count = -(-units // per)

    def make() -> Iterator[Window]:
        if by == "position":
            return _by_position(trace, per, count, phase)
        return _in_order(trace, per, by, phase, keep_tokens)

    return Windows(
        name=trace.name,
        kind="measured",
        num_layers=trace.num_layers,
        num_experts=trace.num_experts,
        count=count,
        make=make,
        layer_ids=trace.layer_ids,
        top_k=trace.top_k,
    )


def load_windows(workloads: Sequence[Workload], *, windows: int | None = None) -> Windows:
    """Go through several recorded loads in order, each for the same number of windows.

    Parameters
    ----------
    workloads
        Of the same layers and experts; only shares matter, each is scaled to the sum 1 a layer.
    windows
        Windows in all, rounded up to a multiple of the recordings; default one each.

    Raises
    ------
    InputError
        If there are none or they differ in shape or layers.
    """
    if not workloads:
        raise InputError("no loads given")
    first = workloads[0]
    for other in workloads[1:]:
        if other.load.shape != first.load.shape or other.layer_ids != first.layer_ids:
            raise InputError(
                f"loads {first.name!r} and {other.name!r} differ in experts or layers; "
                "replay loads of one model and the same layers"
            )
    each = max(1, -(-int(windows or 0) // len(workloads)))
    kinds = {workload.kind for workload in workloads}

    def make() -> Iterator[Window]:
        for workload in workloads:
            load = shares(workload.load)
            for _ in range(each):
                yield Window(load, label=workload.name)

    return Windows(
        name=" → ".join(workload.name for workload in workloads),
        kind="measured" if kinds == {"measured"} else "synthetic",
        num_layers=first.num_layers,
        num_experts=first.num_experts,
        count=each * len(workloads),
        make=make,
        layer_ids=first.layer_ids,
        top_k=first.top_k,
    )


def shares(load: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return loads scaled to the sum 1 in every layer; a layer without load stays 0."""
    total = load.sum(axis=1, keepdims=True)
    share: NDArray[np.float64] = np.divide(
        load, total, out=np.zeros(load.shape, np.float64), where=total > 0
    )
    return share


def _units(trace: RoutingTrace | StoredTrace, by: str, phase: str | None) -> int:
    """Return what there is to cut: tokens, requests, or positions."""
    total, last = 0, None
    for chunk in trace_chunks(trace, phase):
        if not chunk.num_tokens:
            continue
        if by == "tokens":
            total += chunk.num_tokens
        elif by == "position":
            total = max(total, int(np.asarray(chunk.position).max()) + 1)
        else:
            request = np.asarray(chunk.request)
            total += int((np.diff(request) != 0).sum()) + int(last is None or request[0] != last)
            last = request[-1]
    return total


def _in_order(
    trace: RoutingTrace | StoredTrace, size: int, by: str, phase: str | None, keep: bool
) -> Iterator[Window]:
    load = np.zeros((trace.num_layers, trace.num_experts))
    held: list[RoutingTrace] = []
    seen, last = 0, None  # units begun so far; the request of the token before
    for chunk in trace_chunks(trace, phase):
        if not chunk.num_tokens:
            continue
        if by == "tokens":
            unit = seen + np.arange(chunk.num_tokens)
        else:
            request = np.asarray(chunk.request)
            starts = np.concatenate([[last is None or request[0] != last], np.diff(request) != 0])
            unit = seen - 1 + np.cumsum(starts)
            last = request[-1]
        number = unit // size
        edges = [0, *(np.flatnonzero(np.diff(number)) + 1), chunk.num_tokens]
        for low, high in pairwise(edges):
            fresh = unit[low] % size == 0 and (by == "tokens" or starts[low])
            if fresh and load.any():
                yield _window(load, held, trace.name)
                load, held = np.zeros_like(load), []
            part = chunk.select(slice(low, high))
            load += count_loads(part)
            if keep:
                held.append(part)
        seen = int(unit[-1]) + 1
    if load.any():
        yield _window(load, held, trace.name)


def _window(load: NDArray[np.float64], held: list[RoutingTrace], label: str) -> Window:
    from moeplace.traces.stored import concatenated

    return Window(load, concatenated(held) if held else None, label)


def _by_position(
    trace: RoutingTrace | StoredTrace, size: int, count: int, phase: str | None
) -> Iterator[Window]:
    table = np.zeros((count, trace.num_layers, trace.num_experts))
    for chunk in trace_chunks(trace, phase):
        if not chunk.num_tokens:
            continue
        number = np.asarray(chunk.position) // size
        for window in np.unique(number):
            table[window] += count_loads(chunk.select(number == window))
    for window in range(count):
        if table[window].any():
            yield Window(table[window], label=f"{trace.name} from position {window * size}")


def count_loads(trace: RoutingTrace) -> NDArray[np.float64]:
    """Return (layers, experts) tokens routed to each expert."""
    experts = trace.num_experts
    row = np.arange(trace.num_layers, dtype=np.int64)[None, :, None] * experts
    valid = trace.valid
    number = (trace.expert_ids.astype(np.int64) + row)[valid]
    counts = np.bincount(number, minlength=trace.num_layers * experts)
    return counts.reshape(trace.num_layers, experts).astype(np.float64)
