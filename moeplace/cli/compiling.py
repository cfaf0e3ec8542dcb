"""Says that kernels are being compiled, which happens once on a machine."""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from moeplace.cli.progress import Progress

WORTH_A_NOTE_S = 2.0


@contextmanager
def reported_compilation(progress: Progress, note: Callable[[str], None]) -> Iterator[None]:
    """Show in `progress` while numba compiles, and at the end `note` how long that took."""
    from numba.core import event

    spent = [0.0]

    class Listener(event.Listener):  # type: ignore[misc]
        """Hears of every compilation; what comes from the cache makes no event."""

        depth = 0
        begun = 0.0

        def on_start(self, event: Any) -> None:
            if self.depth == 0:
                self.begun = time.monotonic()
                progress.aside("compiling kernels, on the first run only")
            self.depth += 1

        def on_end(self, event: Any) -> None:
            self.depth -= 1
            if self.depth == 0:
                spent[0] += time.monotonic() - self.begun
                progress.aside("")

    with event.install_listener("numba:compile", Listener()):
        yield
    if spent[0] >= WORTH_A_NOTE_S:
        note(f"{spent[0]:.0f} s of this went into compiling kernels, which later runs reuse")
