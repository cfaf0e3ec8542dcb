"""What it costs to go from one map to the next over the system's links."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from moeplace.replay.training import MODEL_STATES, route_costs

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from moeplace.placement import Problem


@dataclass(frozen=True, eq=False)
class Fetches:
    """Copies of expert weights that a change of map needs.

    Attributes
    ----------
    moved
        (layers,) replicas that must be copied.
    layer_s
        (layers,) seconds if only that layer's copies are made.
    seconds
        Seconds for all of them at once: the busiest link's bytes over its bandwidth, plus the
        longest latency.
    nbytes
        Bytes copied.
    orders
        (copies, 4) layer, expert, source rank, target rank.
    """

    moved: NDArray[np.int64]
    layer_s: NDArray[np.float64]
    seconds: float
    nbytes: float
    orders: NDArray[np.int64]


class Mover:
    """Prices changes of map on a problem's fabric.

    Every replica that its rank did not hold is fetched from the nearest rank that did: the route
    with the largest bandwidth, then the smallest latency; among equals the one that has sent
    least. In training the optimizer's states move with the weights.

    Parameters
    ----------
    problem
        Gives the fabric and the size of an expert.
    training
        Whether optimizer states move as well.
    """

    def __init__(self, problem: Problem, *, training: bool = False) -> None:
        topology = problem.plan.topology
        slowest, latency = route_costs(topology)
        self.expert_bytes = problem.expert_bytes * (MODEL_STATES if training else 1.0)
        self._topology = topology
        self._distance = slowest * self.expert_bytes + latency
        self._latency = float(latency.max(initial=0.0))

    @property
    def cheapest_s(self) -> float:
        """Seconds of the cheapest single fetch."""
        off = self._distance[~np.eye(self._distance.shape[0], dtype=bool)]
        return float(off.min(initial=0.0)) if off.size else 0.0

    @property
    def fetch_s(self) -> NDArray[np.float64]:
        """(ranks, ranks) seconds to copy one expert alone."""
        return self._distance

    def fetches(self, old: NDArray[np.int32], new: NDArray[np.int32]) -> Fetches:
        """Return what going from `old` to `new` takes; both (layers, ranks, slots)."""
        from moeplace.replay.fetches_kernels import fetch_layers

        layers = new.shape[0]
        moved = np.empty(layers, np.int64)
        crossings = np.empty((layers, self._topology.num_links), np.int64)
        orders = np.empty((int((new >= 0).sum()), 4), np.int64)
        total = fetch_layers(
            old,
            new,
            self._distance,
            self._topology.route_start,
            self._topology.route_links,
            moved,
            crossings,
            orders,
        )
        per_copy = self.expert_bytes / self._topology.bandwidth_Bps
        busiest = (crossings * per_copy).max(axis=1, initial=0.0)
        pooled = float((crossings.sum(axis=0) * per_copy).max(initial=0.0))
        latency = self._latency if total else 0.0
        return Fetches(
            moved=moved,
            layer_s=busiest + np.where(moved > 0, self._latency, 0.0),
            seconds=pooled + latency,
            nbytes=total * self.expert_bytes,
            orders=orders[:total],
        )
