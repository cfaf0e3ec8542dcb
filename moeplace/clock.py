"""The clock that searches decide by: the machine's, or readings that are kept and played back.

A search with a time limit does what it does because of what its clock said. Whoever keeps the
readings and plays them back gets the same search again, step by step, on a faster machine too.
"""

from __future__ import annotations

import os
import time
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

from moeplace.errors import CheckFailedError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

Item = TypeVar("Item")
Found = TypeVar("Found")
FIRST = "0"  # the stream of the thread that begins


@dataclass
class Readings:
    """What the clock said, in each stream in order.

    A stream is what one thread reads between two hand-overs of work: the first one, and one for
    every item of every map of a pool, named after where it was handed over. So the order in which
    threads happen to run does not matter.

    Attributes
    ----------
    streams
        Readings by stream, seconds.
    cores
        Cores that the search believed to have.
    lost
        What decided by a clock that is not kept, in words.
    """

    streams: dict[str, list[float]] = field(default_factory=dict)
    cores: int = 0
    lost: list[str] = field(default_factory=list)


class _Stream:
    """Where one thread is in its readings."""

    def __init__(self, name: str, readings: Readings, playing: bool) -> None:
        self.name, self.all, self.playing = name, readings, playing
        self.own = readings.streams.setdefault(name, [])
        self.at, self.maps = 0, 0

    def read(self, clock: Callable[[], float]) -> float:
        if not self.playing:
            self.own.append(clock())
            return self.own[-1]
        if self.at >= len(self.own):
            raise CheckFailedError(
                "the search looks at the clock more often than when it was kept: this version "
                "searches in another way"
            )
        self.at += 1
        return self.own[self.at - 1]


_stream: ContextVar[_Stream | None] = ContextVar("stream", default=None)


def monotonic() -> float:
    """Return seconds that never fall, for spans within a process."""
    stream = _stream.get()
    return time.monotonic() if stream is None else stream.read(time.monotonic)


def wall() -> float:
    """Return seconds that other processes understand, for deadlines handed to workers."""
    stream = _stream.get()
    return time.time() if stream is None else stream.read(time.time)


def kept() -> bool:
    """Return whether readings are being kept or played back here."""
    return _stream.get() is not None


def played_readings() -> Readings | None:
    """Return the readings that are being played back here, None if none are."""
    stream = _stream.get()
    return stream.all if stream is not None and stream.playing else None


def lose(what: str) -> None:
    """Tell that something decides by a clock of its own, so that readings do not repeat it."""
    stream = _stream.get()
    if stream is not None and what not in stream.all.lost:
        stream.all.lost.append(what)


def cores(actual: int) -> int:
    """Return the number of cores to reckon with: those at the time when readings are played."""
    stream = _stream.get()
    if stream is None or not stream.playing:
        return actual
    return stream.all.cores or actual


@contextmanager
def keeping() -> Iterator[Readings]:
    """Keep the readings of everything the block does in threads."""
    with _reading(Readings(cores=_cores()), playing=False) as readings:
        yield readings


@contextmanager
def played(readings: Readings) -> Iterator[Readings]:
    """Let the clock say in the block what it said when `readings` were kept.

    Raises
    ------
    CheckFailedError
        In the block, if it is read more often than then.
    """
    with _reading(readings, playing=True) as played:
        yield played


@contextmanager
def _reading(readings: Readings, *, playing: bool) -> Iterator[Readings]:
    token = _stream.set(_Stream(FIRST, readings, playing))
    try:
        yield readings
    finally:
        _stream.reset(token)


def handed_over(function: Callable[[Item], Found]) -> Callable[[tuple[int, Item]], Found]:
    """Return a function of (number, item) that reads the clock in a stream of its own."""
    parent = _stream.get()
    if parent is None:
        return lambda numbered: function(numbered[1])
    parent.maps += 1
    name = f"{parent.name}/{parent.maps}"

    def run(numbered: tuple[int, Item]) -> Found:
        number, item = numbered
        token = _stream.set(_Stream(f"{name}.{number}", parent.all, parent.playing))
        try:
            return function(item)
        finally:
            _stream.reset(token)

    return run


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
