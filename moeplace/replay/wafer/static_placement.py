"""Where experts and their replicas live on the wafer: by popularity, topology and co-activation."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from moeplace.replay.wafer.machine import Machine

NEAR = 0.05  # dies within 5 % of a mean die's load count as equally loaded
DISTANCE = 0.5  # what a hop between replicas weighs against a mean co-activation


def place_experts(
    machine: Machine,
    share: NDArray[np.float64],
    coactivation: NDArray[np.float64],
    requests: float,
    slots: int,
    *,
    distance: float = DISTANCE,
) -> NDArray[np.bool_]:
    """Return (experts, dies) who holds what in one layer.

    Every free slot gets a replica of the expert with most time per replica: products at the
    expected number of requests, or one read of its weights times the chance of being asked for.
    Replicas go, costliest first, to the least loaded die; of the dies within 5 % of it, to
    the one with least co-activation with what it holds, near the expert's other replicas.

    Parameters
    ----------
    machine
        The wafer.
    share
        (experts,) share of requests.
    coactivation
        (experts, experts) how often two serve one token.
    requests
        Requests for experts in one step, batch times top_k.
    slots
        Experts that a die may hold in this layer.
    distance
        What a hop between replicas weighs against a mean co-activation.

    Notes
    -----
    Insights 4 (spread popular experts), 5 (part co-activated ones) and 3 (mind the topology) of
    arXiv 2510.05497, which the paper does not evaluate.
    """
    experts, dies = machine.num_experts, machine.num_dies
    cost = expected_cost_s(machine, share, requests)
    replicas = replica_counts(cost, slots * dies, dies)
    each = cost / replicas
    held = np.zeros((experts, dies), bool)
    load = np.zeros(dies)
    free = np.full(dies, slots)
    related = coactivation / max(float(coactivation.mean()), 1e-300)
    met = np.zeros((experts, dies))  # co-activation of an expert with what a die holds
    near = NEAR * cost.sum() / dies
    # Every expert first gets one place, so that none is left without when dies are full.
    turns = [np.flatnonzero(replicas > turn) for turn in range(int(replicas.max()))]
    for turn in turns:
        for e in turn[np.argsort(-each[turn], kind="stable")]:
            open_dies = np.flatnonzero((free > 0) & ~held[e])
            if not open_dies.size:
                continue
            close = open_dies[load[open_dies] <= load[open_dies].min() + near]
            away = machine.hops[close][:, held[e]].min(axis=1) if held[e].any() else 0
            die = close[np.argmin(met[e, close] + distance * away)]
            held[e, die] = True
            load[die] += each[e]
            free[die] -= 1
            met[:, die] += related[:, e]
    return held


def expected_cost_s(
    machine: Machine, share: NDArray[np.float64], requests: float
) -> NDArray[np.float64]:
    """Return (experts,) seconds of an expert: its products, or its read if that is longer."""
    slices = machine.constants.slices
    expected = share * requests
    products = np.interp(expected, np.arange(machine.compute_s.size), machine.compute_s)
    asked = 1.0 - np.exp(-expected)
    return np.asarray(slices * np.maximum(products, asked * machine.hbm_slice_s))


def replica_counts(cost: NDArray[np.float64], slots: int, most: int) -> NDArray[np.int64]:
    """Return (experts,) replicas, at most one a die, that use `slots` as far as they can.

    One replica each, then one after the other to the expert with the most cost per replica:
    the largest cost per replica is as small as it can be (exchange argument).
    """
    counts = np.ones(cost.size, np.int64)
    for _ in range(min(slots, cost.size * most) - cost.size):
        counts[np.argmax(np.where(counts < most, cost / counts, -1.0))] += 1
    return counts
