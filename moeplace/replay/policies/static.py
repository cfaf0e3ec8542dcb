"""One map for ever."""

from __future__ import annotations

from typing import TYPE_CHECKING

from moeplace.replay.maps import start_table

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from moeplace.replay.policy import Bench, Decision, Situation


class Static:
    """Keeps the first map.

    Parameters
    ----------
    bench
        The replay.
    start
        ``contiguous``: experts in order, no replicas, what expert parallelism does without loads.
        ``eplb``, ``eplb-global`` (its global policy), ``moeplace``: fitted on the loads known
        beforehand.
    """

    def __init__(self, bench: Bench, start: str = "contiguous") -> None:
        self._bench, self._start = bench, start

    def start(self, load: NDArray[np.float64]) -> NDArray[np.int32]:
        """Return the map."""
        return start_table(self._bench, load, self._start)

    def decide(self, situation: Situation) -> Decision | None:
        """Keep it."""
        return None
