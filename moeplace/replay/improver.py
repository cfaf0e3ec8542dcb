"""Another map that is better for given loads and near the one in use."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from moeplace.replay.scorer import BACKWARD
from moeplace.replay.training import route_costs

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from moeplace.replay.policy import Bench

SPREAD = 2.0  # the busiest rank fetches this much more than the mean
STEPS_PER_SLOT = 1  # longest way, in slots of a layer
UNLIMITED = 2**31 - 1
WORKERS = 2
LAYERS_FOR_THREADS = 16


@dataclass(frozen=True, eq=False)
class Way:
    """Another map, (layers,) replicas it moves, and seconds of a step before and after."""

    table: NDArray[np.int32]
    moves: NDArray[np.int64]
    before_s: NDArray[np.float64]
    after_s: NDArray[np.float64]


class Improver:
    """Improves maps for estimated loads within a price of moved replicas.

    In training an expert may have several slots on a rank, as FlexMoE's vExperts: they share its
    weights and gradients, and divide its load more finely. In inference it has one, as engines
    want.

    Parameters
    ----------
    bench
        The replay.
    """

    def __init__(self, bench: Bench) -> None:
        problem = bench.problem
        training = bench.scorer.training
        self._bench = bench
        self._threads = ThreadPoolExecutor(WORKERS)
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
        out = table.copy()
        moves = np.zeros(table.shape[0], np.int64)
        chosen = np.arange(table.shape[0]) if rows is None else rows
        improve = self._improvement(load, out, moves, worth, price_s, max_moves)
        self._shared(improve, chosen)
        return out, moves

    def timed(
        self,
        load: NDArray[np.float64],
        table: NDArray[np.int32],
        *,
        worth: float = 1.0,
        price_s: float = 0.0,
        max_moves: int = UNLIMITED,
    ) -> Way:
        """Return another map with the times of both, worked out side by side.

        Parameters
        ----------
        load, table, worth, price_s, max_moves
            As for `improved`.
        """
        out = table.copy()
        layers = table.shape[0]
        moves, before, after = np.zeros(layers, np.int64), np.empty(layers), np.empty(layers)
        improve = self._improvement(load, out, moves, worth, price_s, max_moves)

        def work(part: NDArray[np.int64]) -> None:
            improve(part)
            before[part] = self._bench.scorer.times(load, table, part).total_s
            after[part] = before[part]
            changed = part[(out[part] != table[part]).any(axis=(1, 2))]
            if changed.size:
                after[changed] = self._bench.scorer.times(load, out, changed).total_s

        self._shared(work, np.arange(layers))
        return Way(out, moves, before, after)

    def _shared(self, work: Callable[[NDArray[np.int64]], None], rows: NDArray[np.int64]) -> None:
        """Do layers in threads where there are enough."""
        if rows.size < LAYERS_FOR_THREADS:
            work(rows)
        else:
            list(self._threads.map(work, np.array_split(rows, WORKERS)))

    def _improvement(
        self,
        load: NDArray[np.float64],
        out: NDArray[np.int32],
        moves: NDArray[np.int64],
        worth: float,
        price_s: float,
        max_moves: int,
    ) -> Callable[[NDArray[np.int64]], None]:
        """Return what improves some layers of `out` and fills their `moves`."""
        from moeplace.replay.improver_kernels import improve_layers

        problem = self._bench.problem
        shares = np.ascontiguousarray(load)

        def improve(part: NDArray[np.int64]) -> None:
            improve_layers(
                shares,
                out,
                part,
                problem.top_k,
                float(problem.tokens),
                self._constants,
                self._link_s,
                self._slowest,
                self._sync_bytes,
                self._bench.scorer.training,
                problem.max_replicas,
                max_moves,
                worth,
                price_s,
                STEPS_PER_SLOT * problem.num_slots,
                moves,
            )

        return improve
