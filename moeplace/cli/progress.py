"""What a long command says while it works: on stderr, and only after a second."""

from __future__ import annotations

import os
import shutil
import sys
import threading
import time
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from types import TracebackType

    from moeplace.formulations.result import Incumbent
    from moeplace.placement import Problem

FIRST_AFTER_S = 1.0
TICK_S = 0.25
PLAIN_EVERY_S = 5.0
SHORTEST_STAGE = 12
CLEAR = "\r\x1b[K"

_shown: list[Progress] = []  # the one that draws on the terminal now
_lock = threading.RLock()


class Progress:
    """Shows the stage, the incumbent, the bound, the gap and the time that has passed.

    On a terminal it is one line that is redrawn, never wider than the terminal, and removed at
    the end; elsewhere plain lines without control characters, at most one every five seconds.
    """

    def __init__(self, stage: str, *, quiet: bool = False) -> None:
        self._stage, self._quiet, self._aside = stage, quiet, ""
        self._unit, self._scale, self._limit_s = "", 1.0, 0.0
        self._incumbent: Incumbent | None = None
        self._started = self._stage_started = time.monotonic()
        self._stop = threading.Event()
        self._live = sys.stderr.isatty() and os.environ.get("TERM") != "dumb"
        self._drawn = False
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        if not self._quiet:
            self._thread = threading.Thread(target=self._run, daemon=True)
            self._thread.start()
            _shown.append(self)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
            _shown.remove(self)
        self.clear()

    def stage(
        self, text: str, unit: str = "", *, scale: float = 1.0, limit_s: float | None = None
    ) -> None:
        """Say what is being done now.

        Parameters
        ----------
        text
            In a few words.
        unit, scale
            Of its incumbents: their values are shown times the scale, with the unit behind.
        limit_s
            Seconds it may take, shown beside those that have passed.
        """
        self._stage, self._incumbent, self._unit, self._scale = text, None, unit, scale
        self._limit_s, self._stage_started = limit_s or 0.0, time.monotonic()

    def search(self, text: str, problem: Problem, limit_s: float | None = None) -> None:
        """Say who searches; incumbents are shown as means over the layers, as in the tables."""
        layers = problem.num_layers
        if problem.objective == "time":
            self.stage(text, " µs/layer", scale=1e6 / layers, limit_s=limit_s)
        else:
            self.stage(text, f" {problem.objective}/layer", scale=1 / layers, limit_s=limit_s)

    def rename(self, text: str) -> None:
        """Say something else about the same stage; the incumbent stays."""
        self._stage = text

    def aside(self, text: str) -> None:
        """Say what holds up the stage just now; empty when it goes on."""
        self._aside = text

    def incumbent(self, incumbent: Incumbent) -> None:
        """Take the best solution so far."""
        self._incumbent = incumbent

    def text(self, width: int | None = None) -> str:
        """Return the line as it is now, the stage shortened where the width asks for it."""
        stage = f"{self._stage} | {self._aside}" if self._aside else self._stage
        rest = " | ".join(self._figures())
        if width is not None and len(stage) + 3 + len(rest) > width:
            room = max(SHORTEST_STAGE, width - len(rest) - 3)
            stage = stage if len(stage) <= room else stage[: room - 1].rstrip() + "…"
        return f"{stage} | {rest}"[:width]

    def clear(self) -> None:
        """Remove the line from the terminal; it is drawn again at the next tick."""
        with _lock:
            if self._drawn and self._live:
                self._write(CLEAR)
                self._drawn = False

    def _figures(self) -> list[str]:
        parts, best = [], self._incumbent
        if best is not None:
            parts.append(f"best {_number(best.value * self._scale)}{self._unit}")
            if best.lower_bound is not None:
                parts.append(f"bound {_number(best.lower_bound * self._scale)}")
            if best.gap is not None:
                parts.append(f"gap {best.gap:.2%}")
        now = time.monotonic()
        if self._limit_s:
            parts.append(f"{now - self._stage_started:.0f} of {self._limit_s:g} s")
        else:
            parts.append(f"{now - self._started:.0f} s")
        return parts

    def _run(self) -> None:
        wait, last = FIRST_AFTER_S, 0.0
        while not self._stop.wait(wait):
            wait = TICK_S
            now = time.monotonic()
            if self._live:
                width = shutil.get_terminal_size().columns - 1
                with _lock:
                    self._drawn = True
                    self._write(f"\r{self.text(width)}\x1b[K")
            elif now - last >= PLAIN_EVERY_S:
                self._write(self.text() + "\n")
                last = now

    def _write(self, text: str) -> None:
        try:
            sys.stderr.write(text)
            sys.stderr.flush()
        except (OSError, ValueError):
            self._stop.set()


def _number(value: float) -> str:
    return f"{value:,.1f}" if abs(value) >= 1000 else f"{value:.4g}"


def tell(text: str) -> None:
    """Print a line on stderr; a progress line steps aside for it."""
    with _lock:
        for progress in _shown:
            progress.clear()
        print(text, file=sys.stderr)
