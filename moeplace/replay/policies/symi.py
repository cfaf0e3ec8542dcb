"""SYMI: replicas in proportion to the last iteration's popularity, placed anew every time."""

from __future__ import annotations

from typing import TYPE_CHECKING

from moeplace.replay.maps import contiguous_table, proportional_table
from moeplace.replay.policy import Decision

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from moeplace.replay.policy import Bench, Situation

MORE_COMMUNICATION = 0.0152  # of a step's communication, 0.269 → 0.273 s in the paper's model


class Symi:
    """Gives every expert slots in proportion to its estimated load, in every window.

    In training the weights come with the optimizer's update, which is statically sharded, so that
    new places cost no copies but 1.52 % more communication in every step; in inference there is no
    update to ride on, and copies are paid like everyone's. Use ``--estimate window:1`` for the
    paper's estimate, the previous iteration.

    The text of the paper could not be read: rounding (largest remainders, at least one each) and
    places (the slots of an expert follow one another, so that its replicas share ranks and need
    little synchronization) are ours.

    Parameters
    ----------
    bench
        The replay.
    """

    def __init__(self, bench: Bench) -> None:
        self._bench = bench

    def start(self, load: NDArray[np.float64]) -> NDArray[np.int32]:
        """Return expert parallelism."""
        return contiguous_table(self._bench.problem)

    def decide(self, situation: Situation) -> Decision | None:
        """Return replicas in proportion to the loads."""
        problem, scorer = self._bench.problem, self._bench.scorer
        table = proportional_table(problem, situation.load)
        if not scorer.training:
            return Decision(table)
        times = scorer.times(situation.load, table)
        extra = MORE_COMMUNICATION * (times.dispatch_s + times.combine_s + times.sync_s)
        return Decision(table, step_extra_s=extra, free=True)
