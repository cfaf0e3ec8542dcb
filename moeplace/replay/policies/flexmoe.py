"""FlexMoE: vExperts that expand, shrink and migrate (arXiv 2304.03946)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from moeplace.replay.maps import contiguous_table
from moeplace.replay.policy import Decision
from moeplace.replay.scorer import BACKWARD
from moeplace.replay.training import route_costs

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from moeplace.replay.policy import Bench, Situation


class FlexMoe:
    """Scheduler with the balance-ratio trigger, policy maker and cost model of FlexMoE.

    Every rank has a fixed number of vExperts (its slots); expert e has n_e of them and each serves
    I_e / n_e tokens. Before a window, while max over mean rank load is above the threshold, the
    policy maker pairs Expand of the expert with the largest tokens per vExpert with Shrink of the
    one with the smallest, on the rank where the layer's modelled time gets smallest, if it falls.
    Then, in training, Migrate exchanges vExperts where that shortens the synchronization.
    Modelled time is the largest over ranks of compute (tokens over a profiled rate), all-to-all
    (bytes over bandwidth, from uniform sources) and synchronization (parameter bytes over the
    group's rate).

    The original could not be read in full. Equations 6, 7 and 9 and the two algorithms follow a
    re-implementation's documentation; the form of equations 5 and 8, that vExperts of one expert on
    a rank share its weights, and the candidate ranks are from memory; the threshold 1.2 is the
    re-implementation's. The paper's flexible token routing (local vExperts first) is not modelled:
    all policies share tokens out evenly. The best-effort adjustment is `migration="overlap"`.

    Parameters
    ----------
    bench
        The replay.
    threshold
        Balance ratio above which vExperts change.
    changes
        Most pairs of Expand and Shrink of a layer and window, 0 for any number.
    """

    def __init__(self, bench: Bench, threshold: float = 1.2, changes: float = 0.0) -> None:
        problem, training = bench.problem, bench.scorer.training
        self._bench, self._threshold = bench, threshold
        self._changes = int(changes) or problem.num_slots
        slowest, _ = route_costs(problem.plan.topology)
        dispatch, combine = problem.system.copy_bytes(problem.model.payload_size)
        _, _, beta = problem.compute_constants
        passes, trips = (1.0 + BACKWARD, 2.0) if training else (1.0, 1.0)
        pairs = float(problem.tokens * problem.top_k)
        # Sources are uniform: a rank's tokens come in equal parts from all ranks.
        links = trips * (dispatch + combine) * slowest.mean(axis=0)
        self._pair_s = pairs * (passes * beta + links)
        self._slowest = slowest
        self._sync_bytes = bench.scorer.expert_bytes if training else 0.0

    def start(self, load: NDArray[np.float64]) -> NDArray[np.int32]:
        """Return experts in order, every rank's spare vExperts given to its own experts in turn."""
        table = contiguous_table(self._bench.problem)
        for rank in range(table.shape[1]):
            own = [int(e) for e in table[0, rank] if e >= 0]
            for number, slot in enumerate(np.flatnonzero(table[0, rank] < 0)):
                if own:
                    table[:, rank, slot] = own[number % len(own)]
        return table

    def decide(self, situation: Situation) -> Decision | None:
        """Return vExperts as the scheduler leaves them, None if nothing changes."""
        from moeplace.replay.policies.flexmoe_kernels import schedule_layers

        table = situation.table.copy()
        changes = np.zeros(table.shape[0], np.int64)
        schedule_layers(
            np.ascontiguousarray(situation.load),
            table,
            self._pair_s,
            self._slowest,
            self._sync_bytes,
            self._threshold,
            self._changes,
            True,
            changes,
        )
        return Decision(table) if changes.any() else None
