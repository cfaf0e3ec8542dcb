"""Maps that follow the loads: every so often, or when it pays."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from moeplace.replay.maps import best_table
from moeplace.replay.policy import Decision
from moeplace.replay.scorer import BACKWARD
from moeplace.replay.training import route_costs

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from moeplace.replay.policy import Bench, Situation

SPREAD = 2.0  # the busiest rank fetches this much more than the mean
STEPS_PER_SLOT = 1  # longest way, in slots of a layer
UNLIMITED = 2**31 - 1


class Improver:
    """Improves maps for estimated loads within a price of moved replicas.

    Parameters
    ----------
    bench
        The replay.
    """

    def __init__(self, bench: Bench) -> None:
        problem = bench.problem
        training = bench.scorer.training
        self._bench = bench
        slowest, _ = route_costs(problem.plan.topology)
        dispatch, combine = problem.system.copy_bytes(problem.model.payload_size)
        passes = 2.0 if training else 1.0
        pairs = float(problem.tokens * problem.top_k)
        self._link_s = passes * pairs * (dispatch + combine) * slowest.mean(axis=0)
        constants = bench.scorer.constants.copy()
        constants[:3] *= (1.0 + BACKWARD) if training else 1.0
        self._constants = constants
        self._slowest = slowest
        self._sync_bytes = bench.scorer.expert_bytes if training else 0.0
        self.price_s = SPREAD * float(bench.mover.fetch_s.mean()) / problem.num_ranks

    def improved(
        self,
        load: NDArray[np.float64],
        table: NDArray[np.int32],
        *,
        worth: float = 1.0,
        price_s: float = 0.0,
        max_moves: int = UNLIMITED,
        rows: NDArray[np.int64] | None = None,
    ) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
        """Return another map and (layers,) the replicas it moves.

        Parameters
        ----------
        load
            (layers, experts) shares.
        table
            (layers, ranks, slots) the map in use.
        worth
            Steps in which a second saved is saved.
        price_s
            Seconds that a moved replica costs.
        max_moves
            Most moved replicas of a layer.
        rows
            Layers that may change, all by default.
        """
        from moeplace.replay.policies.moeplace_kernels import improve_layers

        problem = self._bench.problem
        out = table.copy()
        moves = np.zeros(table.shape[0], np.int64)
        improve_layers(
            np.ascontiguousarray(load),
            out,
            np.arange(table.shape[0]) if rows is None else rows,
            problem.top_k,
            float(problem.tokens),
            self._constants,
            self._link_s,
            self._slowest,
            self._sync_bytes,
            problem.max_replicas,
            max_moves,
            worth,
            price_s,
            STEPS_PER_SLOT * problem.num_slots,
            moves,
        )
        return out, moves


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
    """

    def __init__(
        self,
        bench: Bench,
        horizon: float = 0.0,
        margin: float = 1.0,
        moves: float = 0.0,
        layers: float = 0.0,
    ) -> None:
        self._bench = bench
        self._worth = bench.steps * (horizon or bench.horizon)
        self._margin = margin
        self._moves = int(moves) or UNLIMITED
        self._layers = int(layers) or UNLIMITED
        self._improver = Improver(bench)

    def start(self, load: NDArray[np.float64]) -> NDArray[np.int32]:
        """Return the best quick map of the loads known beforehand."""
        return best_table(self._bench, load)

    def decide(self, situation: Situation) -> Decision | None:
        """Return a map in which every changed layer pays, or None."""
        bench = self._bench
        price_s = self._margin * self._improver.price_s
        table, moves = self._improver.improved(
            situation.load,
            situation.table,
            worth=self._worth,
            price_s=price_s,
            max_moves=self._moves,
        )
        rows = np.flatnonzero(moves)
        if not rows.size:
            return None
        old_s = bench.scorer.times(situation.load, situation.table, rows).total_s
        new_s = bench.scorer.times(situation.load, table, rows).total_s
        net_s = (old_s - new_s) * self._worth - price_s * moves[rows]
        chosen = rows[np.argsort(-net_s, kind="stable")][: min(self._layers, (net_s > 0).sum())]
        if not chosen.size:
            return None
        out = situation.table.copy()
        out[chosen] = table[chosen]
        cost_s = bench.mover.fetches(situation.table, out).seconds
        gain_s = float((old_s - new_s)[np.isin(rows, chosen)].sum()) * self._worth
        return Decision(out) if gain_s > self._margin * cost_s else None
