"""FasterMoE's dynamic shadowing: hot experts on every rank for one step (PPoPP 2022)."""

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


class Shadowing:
    """Broadcasts the weights of the hottest experts in every step while that is faster.

    Every layer starts from expert parallelism and knows the step's own routing. Its latency is
    rounds · β · B + trips · bytes / W · B, B the largest number of pairs on a rank (3 rounds and 4
    trips in training, 1 and 2 in inference). Experts are shadowed in the order of their load; each
    adds one broadcast of its weights, bytes / W, and one reduction of its gradients in training;
    its tokens stay on their own rank. The longest prefix while latency falls is taken. W is the
    mean bandwidth between two ranks. Shadows are not kept: the broadcasts are paid in every step.

    Parameters
    ----------
    bench
        The replay.
    """

    def __init__(self, bench: Bench) -> None:
        problem, training = bench.problem, bench.scorer.training
        self._bench = bench
        slowest, _ = route_costs(problem.plan.topology)
        ranks = problem.num_ranks
        per_byte_s = float(slowest.sum()) / max(1, ranks * (ranks - 1))
        dispatch, combine = problem.system.copy_bytes(problem.model.payload_size)
        _, _, beta = problem.compute_constants
        rounds, trips = (1.0 + BACKWARD, 2.0) if training else (1.0, 1.0)
        pairs = float(problem.tokens * problem.top_k)
        self._compute_s = pairs * rounds * beta
        self._move_s = pairs * trips * (dispatch + combine) * per_byte_s * (1 - 1 / ranks)
        self._shadow_s = (2.0 if training else 1.0) * bench.scorer.expert_bytes * per_byte_s
        self._home = contiguous_table(problem)

    def start(self, load: NDArray[np.float64]) -> NDArray[np.int32]:
        """Return expert parallelism."""
        return self._home

    def decide(self, situation: Situation) -> Decision | None:
        """Return shadows for the window's own loads."""
        layers, ranks, slots = self._home.shape
        chosen = [self._shadowed(situation.load[layer], layer) for layer in range(layers)]
        most = max(len(experts) for experts in chosen)
        table = np.full((layers, ranks, slots + most), -1, np.int32)
        table[:, :, :slots] = self._home
        local = np.zeros((layers, self._bench.problem.num_experts), np.bool_)
        for layer, experts in enumerate(chosen):
            local[layer, experts] = True
            for rank in range(ranks):
                away = np.setdiff1d(experts, self._home[layer, rank])
                table[layer, rank, slots : slots + away.size] = away
        extra = self._shadow_s * np.array([len(experts) for experts in chosen])
        return Decision(table, step_extra_s=extra, free=True, local=local)

    def _shadowed(self, load: NDArray[np.float64], layer: int) -> list[int]:
        home = self._home[layer]
        ranks = home.shape[0]
        rank_of = np.empty(load.size, np.int64)
        for rank in range(ranks):
            rank_of[home[rank][home[rank] >= 0]] = rank
        held = np.bincount(rank_of, weights=load, minlength=ranks)
        spread = 0.0
        shadows: list[int] = []
        best_s = float(held.max()) * (self._compute_s + self._move_s)
        for expert in np.argsort(-load, kind="stable"):
            held[rank_of[expert]] -= load[expert]
            spread += load[expert] / ranks
            after_s = (
                (float(held.max()) + spread) * self._compute_s
                + float(held.max()) * self._move_s
                + (len(shadows) + 1) * self._shadow_s
            )
            if after_s >= best_s:
                break
            best_s = after_s
            shadows.append(int(expert))
        return shadows
