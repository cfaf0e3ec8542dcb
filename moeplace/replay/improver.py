"""Another map that is better for given loads and near the one in use."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np

from moeplace.replay.scorer import BACKWARD
from moeplace.replay.training import route_costs

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from moeplace.replay.policy import Bench

SPREAD = 2.0  # the busiest rank fetches this much more than the mean
STEPS_PER_SLOT = 1  # longest way, in slots of a layer
UNLIMITED = 2**31 - 1
WORKERS = 2
LAYERS_FOR_THREADS = 16


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
        from moeplace.replay.improver_kernels import improve_layers

        problem = self._bench.problem
        out = table.copy()
        moves = np.zeros(table.shape[0], np.int64)
        chosen = np.arange(table.shape[0]) if rows is None else rows
        shares = np.ascontiguousarray(load)

        def work(part: NDArray[np.int64]) -> None:
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

        if chosen.size < LAYERS_FOR_THREADS:
            work(chosen)
        else:
            list(self._threads.map(work, np.array_split(chosen, WORKERS)))
        return out, moves
