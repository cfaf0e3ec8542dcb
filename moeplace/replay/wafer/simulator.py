"""One MoE layer of one decode step on the wafer, as a function of who computes what."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from moeplace.replay.wafer.machine import Machine


@dataclass(frozen=True, eq=False)
class Tasks:
    """Who computes how many requests of which expert, and where the weights come from.

    Attributes
    ----------
    die, expert, tokens
        (tasks,) int64.
    source
        (tasks, slices) int64 die that each slice is read from.
    keep
        (tasks,) bool, whether weights from another die are kept in this die's HBM.
    order
        (tasks * slices,) int64 numbers ``task * slices + slice`` in the order in which a die takes
        them; default: task after task.
    multicast
        Whether requests that wait for the same read share a tree of routes.
    """

    die: NDArray[np.int64]
    expert: NDArray[np.int64]
    tokens: NDArray[np.int64]
    source: NDArray[np.int64]
    keep: NDArray[np.bool_]
    order: NDArray[np.int64] | None = None
    multicast: bool = False


@dataclass(frozen=True, eq=False)
class LayerRun:
    """What a layer took.

    Attributes
    ----------
    seconds
        Until the last die is done; all dies wait for it.
    hops
        Links on the way of requests for weights to other dies; the way back is not counted, as in
        the simulator of arXiv 2510.05497.
    hbm_read_bytes, hbm_write_bytes
        Of all dies.
    d2d_bytes
        Weights that a die received from another.
    link_bytes
        Weights times mesh edges travelled; an edge of a multicast tree counts once.
    llc_hits
        Slices found in a cache.
    busy_s
        (dies, 2) seconds in which HBM and matrix units worked.
    """

    seconds: float
    hops: int
    hbm_read_bytes: float
    hbm_write_bytes: float
    d2d_bytes: float
    link_bytes: float
    llc_hits: int
    busy_s: NDArray[np.float64]


def run_layer(machine: Machine, tasks: Tasks) -> LayerRun:
    """Simulate one layer, its caches empty at the start.

    The layers of a whole model pass through the caches between two steps of a layer, so what is
    found in a cache was read in the same layer and step.
    """
    from moeplace.replay.wafer.simulator_kernels import run_events

    order = np.arange(tasks.source.size) if tasks.order is None else tasks.order
    counts = np.zeros(6, np.int64)
    busy = np.zeros((machine.num_dies, 2))
    times = np.array(
        [
            machine.hit_s,
            machine.miss_s,
            machine.write_s,
            machine.hbm_slice_s,
            machine.link_slice_s,
            machine.hop_s,
        ]
    )
    seconds = run_events(
        tasks.die, tasks.expert, tasks.tokens, tasks.keep, tasks.source, order,
        machine.num_dies, machine.num_experts, machine.num_edges,
        machine.route_start, machine.route_edges, machine.compute_s, times,
        machine.llc_slices, machine.constants.slices_in_flight, tasks.multicast, counts, busy,
    )  # fmt: skip
    hops, reads, writes, moved, link_slices, hits = (int(count) for count in counts)
    size = machine.slice_bytes
    return LayerRun(
        seconds=float(seconds),
        hops=hops,
        hbm_read_bytes=reads * size,
        hbm_write_bytes=writes * size,
        d2d_bytes=moved * size,
        link_bytes=link_slices * size,
        llc_hits=hits,
        busy_s=busy,
    )
