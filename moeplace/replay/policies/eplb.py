"""EPLB every N windows, as engines run it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from moeplace.replay.maps import eplb_table
from moeplace.replay.policy import Decision

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from moeplace.replay.policy import Bench, Situation


class EplbEvery:
    """Takes EPLB's map of the estimated loads every so many windows, whatever it moves.

    Parameters
    ----------
    bench
        The replay.
    every
        Windows between two maps.
    rule
        ``auto``, EPLB's own choice, or ``global``.
    """

    def __init__(self, bench: Bench, every: float = 10.0, rule: str = "auto") -> None:
        self._bench, self._every, self._rule = bench, max(1, int(every)), rule

    def start(self, load: NDArray[np.float64]) -> NDArray[np.int32]:
        """Return EPLB's map of the loads known beforehand."""
        return eplb_table(self._bench.problem, load, self._rule)

    def decide(self, situation: Situation) -> Decision | None:
        """Return EPLB's map when its turn has come."""
        if situation.number == 0 or situation.number % self._every:
            return None
        return Decision(eplb_table(self._bench.problem, situation.load, self._rule))
