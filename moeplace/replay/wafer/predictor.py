"""The heat map: which expert a request uses after which, and what it predicts (2510.05497)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from moeplace.replay.wafer.demand import Demand


class HeatMap:
    """Counts of expert pairs of successive tokens, by layer: prompts, then decode as it comes.

    Parameters
    ----------
    demand
        The batch; its prompts are counted at once.
    share
        Share of a row's experts that count as predicted.
    """

    def __init__(self, demand: Demand, share: float) -> None:
        from moeplace.replay.wafer.allocation_kernels import count_pairs

        experts = demand.num_experts
        self.demand = demand
        self.top = max(int(np.ceil(share * experts)), 1)
        self.pairs = np.zeros((demand.num_layers, experts, experts), np.int64)
        following = np.flatnonzero(demand.follows)
        following = following[following > 0]
        for layer in range(demand.num_layers):
            ids = demand.prefill[:, layer].astype(np.int64)
            count_pairs(ids[following - 1], ids[following], self.pairs[layer])

    def observe(self, step: int, layer: int) -> None:
        """Count the pairs of the step before and this one."""
        from moeplace.replay.wafer.allocation_kernels import count_pairs

        if step > 0:
            before, now = self.demand.ids(step - 1, layer), self.demand.ids(step, layer)
            count_pairs(before, now, self.pairs[layer])

    def predicted(
        self, layer: int, die: NDArray[np.int64], expert: NDArray[np.int64], num_dies: int
    ) -> NDArray[np.bool_]:
        """Return (dies, experts) whether an expert is expected after those a die computes now.

        The union, over the experts of the die, of the top entries of their rows; entries that
        were never seen do not count.

        Parameters
        ----------
        layer
            Row of the simulated layers.
        die, expert
            (tasks,) who computes what.
        num_dies
            Dies.
        """
        heat = self.pairs[layer]
        order = np.argsort(-heat, axis=1, kind="stable")[:, : self.top]
        likely = np.zeros(heat.shape, bool)
        np.put_along_axis(likely, order, values=True, axis=1)
        likely &= heat > 0
        found = np.zeros((num_dies, heat.shape[0]), bool)
        np.logical_or.at(found, die, likely[expert])
        return found
