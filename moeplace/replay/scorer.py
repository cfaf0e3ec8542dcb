"""Layer times of many windows: `evaluate`'s terms from loads alone, compiled."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from moeplace.errors import InfeasibleError, InputError
from moeplace.models import DTYPE_BYTES
from moeplace.placement.evaluate import TILE_SLACK
from moeplace.replay.training import sync_seconds

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from moeplace.placement import Problem

BACKWARD = 2.0  # the backward pass multiplies two matrices where the forward pass multiplies one


@dataclass(frozen=True, eq=False)
class LayerTimes:
    """What one step costs in every layer.

    Attributes
    ----------
    dispatch_s, compute_s, combine_s, sync_s
        (layers,) seconds; in training forward and backward.
    ratio
        (layers,) balance ratio: largest over mean rank load (FlexMoE, equation 6).
    """

    dispatch_s: NDArray[np.float64]
    compute_s: NDArray[np.float64]
    combine_s: NDArray[np.float64]
    sync_s: NDArray[np.float64]
    ratio: NDArray[np.float64]

    @property
    def total_s(self) -> NDArray[np.float64]:
        """(layers,) seconds of a step."""
        return self.dispatch_s + self.compute_s + self.combine_s + self.sync_s


class Scorer:
    """Scores tables of slots under a problem's model of time, for any loads.

    Compute times are those of `evaluate`. Copies are those of `evaluate` where the kernel makes one
    per (token, expert); elsewhere they are expected ones, a token's experts taken as independent
    but for their number (see :func:`~moeplace.replay.scorer_kernels.use_layers`). Routers that
    limit a token to some groups touch fewer ranks than that.

    Parameters
    ----------
    problem
        Model, system, phase and batch; dispatch ``even``.
    training
        Count the backward pass and the synchronization of replicas as well.

    Raises
    ------
    InputError
        If the dispatch policy looks at the source, or execution is not ``return``.
    """

    def __init__(self, problem: Problem, *, training: bool = False) -> None:
        if problem.dispatch != "even" or problem.execution != "return":
            raise InputError(
                f"a replay scores dispatch 'even' and execution 'return', not {problem.dispatch!r} "
                f"and {problem.execution!r}"
            )
        self.problem, self.training = problem, training
        plan, system = problem.plan, problem.system
        self._dedup = plan.dedup != "none"
        members = plan.members
        sets = [np.flatnonzero(members[:, rank]) for rank in range(problem.num_ranks)]
        self._set_start = np.cumsum([0, *(s.size for s in sets)]).astype(np.int64)
        self._set_index = np.concatenate(sets).astype(np.int64)
        a, b, beta = problem.compute_constants
        self.constants = np.array([a, b, beta, system.tile_tokens, TILE_SLACK], np.float64)
        self._alpha = [system.alpha_us[problem.phase][n] * 1e-6 for n in ("dispatch", "combine")]
        bandwidth = plan.topology.bandwidth_Bps[:, None]
        self._use = [
            np.ascontiguousarray((use * problem.tokens * size / bandwidth).T)
            for use, size in zip(
                plan.uniform_use, system.copy_bytes(problem.model.payload_size), strict=True
            )
        ]
        self._latency = plan.uniform_latency_s
        self._factor = system.in_situ_factor
        self.expert_bytes = problem.model.expert_params * DTYPE_BYTES[problem.weight_dtype]

    def times(
        self,
        load: NDArray[np.float64],
        table: NDArray[np.int32],
        layers: NDArray[np.int64] | None = None,
        local: NDArray[np.bool_] | None = None,
    ) -> LayerTimes:
        """Return the times of all layers, or of some.

        Parameters
        ----------
        load
            (layers, experts) in any unit.
        table
            (layers, ranks, slots) experts, −1 empty; any number of slots.
        layers
            Rows to score; the arrays returned have one entry for each.
        local
            (layers, experts) experts for which nothing is sent, None for none.

        Raises
        ------
        InfeasibleError
            If a loaded expert has no replica.
        """
        from moeplace.replay.scorer_kernels import use_layers

        rows = np.arange(load.shape[0]) if layers is None else layers
        ranks = table.shape[1]
        rank_load = np.empty((load.shape[0], ranks))
        rank_s = np.empty_like(rank_load)
        touches = np.empty((load.shape[0], self._use[0].shape[0]))
        bad = use_layers(
            load,
            table,
            np.ascontiguousarray(rows, np.int64),
            self.problem.top_k,
            float(self.problem.tokens),
            self.constants,
            self._dedup,
            np.zeros(load.shape, np.bool_) if local is None else local,
            self._set_start,
            self._set_index,
            rank_load,
            rank_s,
            touches,
        )
        if bad >= 0:
            raise InfeasibleError(f"row {bad}: an expert with load has no replica")
        if layers is not None:
            rank_load, rank_s, touches = rank_load[rows], rank_s[rows], touches[rows]
        latency = np.where(touches > 0, self._latency, 0.0).max(axis=1, initial=0.0)
        dispatch, combine = (
            self._factor * (alpha + latency + (touches @ use).max(axis=1, initial=0.0))
            for alpha, use in zip(self._alpha, self._use, strict=True)
        )
        compute = rank_s.max(axis=1)
        sync = np.zeros(rows.size)
        if self.training:
            dispatch, combine = 2 * dispatch, 2 * combine
            compute = (1 + BACKWARD) * compute
            sync = sync_seconds(self.problem, table[rows], self.expert_bytes)
        ratio = rank_load.max(axis=1) * ranks
        return LayerTimes(dispatch, compute, combine, sync, np.where(ratio > 0, ratio, 1.0))
