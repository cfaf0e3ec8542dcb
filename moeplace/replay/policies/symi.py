"""SYMI: replicas in proportion to the last iteration's popularity, placed anew every time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from moeplace.replay.maps import contiguous_table
from moeplace.replay.policy import Decision

if TYPE_CHECKING:
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
        layers, ranks, slots = self._bench.shape
        table = np.empty((layers, ranks * slots), np.int32)
        for layer in range(layers):
            count = proportional(situation.load[layer], ranks * slots)
            table[layer] = np.repeat(np.arange(problem.num_experts, dtype=np.int32), count)
        table = table.reshape(layers, ranks, slots)
        if not scorer.training:
            return Decision(table)
        times = scorer.times(situation.load, table)
        extra = MORE_COMMUNICATION * (times.dispatch_s + times.combine_s + times.sync_s)
        return Decision(table, step_extra_s=extra, free=True)


def proportional(load: NDArray[np.float64], total: int) -> NDArray[np.int64]:
    """Return (experts,) whole numbers in proportion to loads, at least 1, with the sum `total`.

    One each first; the others go to the largest load · (total − experts) / sum by whole parts, then
    by largest remainders, ties to the lower number.
    """
    spare = total - load.size
    whole = float(load.sum())
    wanted = load / whole * total if whole > 0 else np.full(load.size, total / load.size)
    above = np.maximum(wanted - 1.0, 0.0)
    scale = above.sum()
    exact = above * (spare / scale) if scale > 0 else np.full(load.size, spare / load.size)
    count = 1 + np.floor(exact).astype(np.int64)
    left = total - int(count.sum())
    count[np.argsort(-(exact - np.floor(exact)), kind="stable")[:left]] += 1
    return count
