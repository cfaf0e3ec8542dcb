"""What a long command says while it works: on stderr, and only after a second."""

from __future__ import annotations

import sys
import threading
import time
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from types import TracebackType

    from moeplace.formulations.result import Incumbent

FIRST_AFTER_S = 1.0
TICK_S = 0.25
PLAIN_EVERY_S = 5.0


class Progress:
    """Shows the stage, the incumbent, the bound, the gap and the time that has passed.

    On a terminal it is one line that is redrawn and removed at the end; elsewhere plain lines, at
    most one every five seconds.
    """

    def __init__(self, stage: str, *, quiet: bool = False) -> None:
        self._stage, self._quiet, self._unit, self._aside = stage, quiet, "", ""
        self._incumbent: Incumbent | None = None
        self._started = time.monotonic()
        self._stop = threading.Event()
        self._live = sys.stderr.isatty()
        self._drawn = False
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        if not self._quiet:
            self._thread = threading.Thread(target=self._run, daemon=True)
            self._thread.start()
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
        if self._drawn and self._live:
            self._write("\r\x1b[K")

    def stage(self, text: str, unit: str = "") -> None:
        """Say what is being done now, and the unit of its incumbents."""
        self._stage, self._incumbent, self._unit = text, None, unit

    def aside(self, text: str) -> None:
        """Say what holds up the stage just now; empty when it goes on."""
        self._aside = text

    def incumbent(self, incumbent: Incumbent) -> None:
        """Take the best solution so far."""
        self._incumbent = incumbent

    def text(self) -> str:
        """Return the line as it is now."""
        parts = [self._stage]
        if self._aside:
            parts.append(self._aside)
        best = self._incumbent
        if best is not None:
            parts.append(f"best {best.value:.6g}{self._unit}")
            if best.lower_bound is not None:
                parts.append(f"bound {best.lower_bound:.6g}{self._unit}")
            if best.gap is not None:
                parts.append(f"gap {best.gap:.2%}")
        parts.append(f"{time.monotonic() - self._started:.0f} s")
        return " | ".join(parts)

    def _run(self) -> None:
        wait, last = FIRST_AFTER_S, 0.0
        while not self._stop.wait(wait):
            wait = TICK_S
            now = time.monotonic()
            if self._live:
                self._write(f"\r{self.text()[:79]}\x1b[K")
            elif now - last >= PLAIN_EVERY_S:
                self._write(self.text() + "\n")
                last = now

    def _write(self, text: str) -> None:
        self._drawn = True
        try:
            sys.stderr.write(text)
            sys.stderr.flush()
        except (OSError, ValueError):
            self._stop.set()
