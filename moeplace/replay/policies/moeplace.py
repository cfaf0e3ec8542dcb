"""Maps that follow the loads: every so often, or when it pays."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from moeplace.replay.anchored import anchored_layer
from moeplace.replay.improver import UNLIMITED, Improver
from moeplace.replay.maps import best_table, start_table
from moeplace.replay.policy import Decision

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from moeplace.replay.policy import Bench, Situation


class MoeplaceEvery:
    """Improves the map every so many windows as far as quick search goes, from the one in use.

    Parameters
    ----------
    bench
        The replay.
    every
        Windows between two maps.
    moves
        Most moved replicas of a layer at a time, 0 for any number.
    """

    def __init__(self, bench: Bench, every: float = 10.0, moves: float = 0.0) -> None:
        self._bench, self._every = bench, max(1, int(every))
        self._moves = int(moves) or UNLIMITED
        self._improver = Improver(bench)

    def start(self, load: NDArray[np.float64]) -> NDArray[np.int32]:
        """Return the best quick map of the loads known beforehand."""
        return best_table(self._bench, load)

    def decide(self, situation: Situation) -> Decision | None:
        """Return an improved map when its turn has come."""
        if situation.number == 0 or situation.number % self._every:
            return None
        table, moves = self._improver.improved(
            situation.load, situation.table, max_moves=self._moves
        )
        return Decision(table) if moves.any() else None


class MoeplaceTriggered:
    """Changes layers in which the modelled gain over the horizon exceeds the modelled cost.

    Parameters
    ----------
    bench
        The replay.
    horizon
        Windows for which a map is expected to serve; 0 for the replay's own.
    margin
        How many times its cost a change must gain.
    moves
        Most moved replicas of a layer at a time, 0 for any number.
    layers
        Most layers changed in a window, those that gain most first; 0 for any number.
    start
        The first map: ``moeplace``, ``contiguous``, ``eplb``, ``eplb-global``.
    """

    def __init__(
        self,
        bench: Bench,
        horizon: float = 0.0,
        margin: float = 1.0,
        moves: float = 0.0,
        layers: float = 0.0,
        start: str = "moeplace",
    ) -> None:
        self._bench, self._start = bench, start
        self._worth = bench.steps * (horizon or bench.horizon)
        self._margin = margin
        self._moves = int(moves) or UNLIMITED
        self._layers = int(layers) or UNLIMITED
        self._improver = Improver(bench)

    def start(self, load: NDArray[np.float64]) -> NDArray[np.int32]:
        """Return the first map, by default the best quick one of the loads known beforehand."""
        return start_table(self._bench, load, self._start)

    def decide(self, situation: Situation) -> Decision | None:
        """Return a map in which every changed layer pays, or None."""
        bench, load, old = self._bench, situation.load, situation.table
        price_s = self._margin * self._improver.price_s
        candidates = [old]
        if bench.scorer.training and self._moves == UNLIMITED:
            fresh = [anchored_layer(old[row], load[row]) for row in range(old.shape[0])]
            candidates.append(np.array(fresh, np.int32))
        ways = [
            self._improver.timed(
                load, table, worth=self._worth, price_s=price_s, max_moves=self._moves
            )
            for table in candidates
        ]
        improved = [way.table for way in ways]
        before_s = ways[0].before_s
        fetched = [bench.mover.fetches(old, table) for table in improved]
        gains = [(before_s - way.after_s) * self._worth for way in ways]
        nets = [gain - price_s * f.moved for gain, f in zip(gains, fetched, strict=True)]
        rows = np.arange(old.shape[0])
        which = np.argmax(nets, axis=0)
        net_s = np.array(nets)[which, rows]
        chosen = np.argsort(-net_s, kind="stable")[: min(self._layers, int((net_s > 0).sum()))]
        if not chosen.size:
            return None
        out = old.copy()
        out[chosen] = np.array(improved)[which[chosen], chosen]
        whole = len(improved) == 1 and np.array_equal(out, improved[0])
        fetches = fetched[0] if whole else bench.mover.fetches(old, out)
        gain = float(np.array(gains)[which[chosen], chosen].sum())
        return Decision(out, fetches=fetches) if gain > self._margin * fetches.seconds else None
