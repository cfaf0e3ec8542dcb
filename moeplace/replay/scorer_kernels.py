# mypy: disallow-untyped-decorators=False
"""Compiled: how a layer's slots are used when nothing but loads is known."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numba import njit

if TYPE_CHECKING:
    from numpy.typing import NDArray


@njit(cache=True, nogil=True, error_model="numpy")
def slot_seconds(
    share: float,
    top_k: int,
    tokens: float,
    b: float,
    beta: float,
    tile: float,
    slack: float,
) -> float:
    """Return max(b · P[activated], β · tile · ⌈n / tile⌉) of a slot, as `evaluate` has it.

    A tile of 0 leaves the rounding up to tiles away, which searches need to see progress.
    """
    if share <= 0.0:
        return 0.0
    pairs = share * tokens * top_k
    served = pairs
    if tile > 0.0:
        served = tile * np.ceil(pairs / tile * (1.0 - slack))
    streamed = b
    per_token = top_k * share
    if per_token < 1.0 and tokens * per_token < 40.0:  # e^-40 is beyond float64 beside 1
        streamed = b * -np.expm1(tokens * np.log1p(-per_token))
    return max(streamed, beta * served)


@njit(cache=True, nogil=True, error_model="numpy")
def use_layers(
    load: NDArray[np.float64],
    table: NDArray[np.int32],
    layers: NDArray[np.int64],
    top_k: int,
    tokens: float,
    constants: NDArray[np.float64],
    dedup: bool,
    local: NDArray[np.bool_],
    set_start: NDArray[np.int64],
    set_index: NDArray[np.int64],
    rank_load: NDArray[np.float64],
    rank_s: NDArray[np.float64],
    touches: NDArray[np.float64],
) -> int:
    """Fill rank loads (shares), rank compute times and expected touches of some layers.

    With p_e = min(1, k q_e) the chance that a token uses expert e and f_e(D) the part of its
    replicas inside set D, experts that are independent but for their number k miss D with chance
    Π (1 − p_e f_e) · e^m (1 − m / k)^k, m = Σ p_e f_e: the product of independent experts,
    conditioned on k experts in all with the others' number taken as Poisson. It is exact for
    k = 1 and where some p_e f_e is 1, and never below 1 − m (the union bound).

    Returns
    -------
    The first layer (a row of `load`) with a loaded expert that has no replica, −1 if none has.

    Parameters
    ----------
    load
        (rows, experts) loads in any unit.
    table
        (rows, ranks, slots) experts, −1 empty.
    layers
        Rows to do.
    top_k, tokens
        k, and tokens T of a step.
    constants
        a, b, β, tile, slack of the compute model.
    dedup
        False: one copy per (token, expert); a set's touches are then k times its share.
    local
        (rows, experts) experts that serve tokens where they are; nothing is sent for them.
    set_start, set_index
        Compressed rows: the destination sets that each rank is a member of.
    rank_load, rank_s, touches
        (rows, ranks), (rows, ranks), (rows, sets); overwritten.
    """
    ranks, width = table.shape[1], table.shape[2]
    experts, sets = load.shape[1], touches.shape[1]
    a, b, beta, tile, slack = constants[0], constants[1], constants[2], constants[3], constants[4]
    count = np.empty(experts, np.int64)
    start = np.empty(experts + 1, np.int64)
    where = np.empty(ranks * width, np.int64)
    part = np.zeros(sets)
    touched = np.empty(sets, np.int64)
    mean = np.empty(sets)
    bad = -1
    for index in range(layers.size):
        layer = layers[index]
        total = 0.0
        for e in range(experts):
            total += load[layer, e]
            count[e] = 0
        for r in range(ranks):
            rank_load[layer, r] = 0.0
            rank_s[layer, r] = a
            for w in range(width):
                if table[layer, r, w] >= 0:
                    count[table[layer, r, w]] += 1
        for j in range(sets):
            touches[layer, j] = 1.0
            mean[j] = 0.0
        start[0] = 0
        for e in range(experts):
            start[e + 1] = start[e] + count[e]
            count[e] = start[e]
        for r in range(ranks):
            for w in range(width):
                e = table[layer, r, w]
                if e >= 0:
                    where[count[e]] = r
                    count[e] += 1
        for e in range(experts):
            replicas = start[e + 1] - start[e]
            if load[layer, e] <= 0.0 or total <= 0.0:
                continue
            if replicas == 0:
                bad = layer
                continue
            q = load[layer, e] / total
            seconds = slot_seconds(q / replicas, top_k, tokens, b, beta, tile, slack)
            used = 0
            for i in range(start[e], start[e + 1]):
                r = where[i]
                rank_load[layer, r] += q / replicas
                rank_s[layer, r] += seconds
                if local[layer, e]:
                    continue
                for entry in range(set_start[r], set_start[r + 1]):
                    j = set_index[entry]
                    if part[j] == 0.0:
                        touched[used] = j
                        used += 1
                    part[j] += 1.0 / replicas
            p = min(1.0, top_k * q)
            for i in range(used):
                j = touched[i]
                chance = min(1.0, p * part[j])
                touches[layer, j] *= 1.0 - chance
                mean[j] += p * part[j] if dedup else top_k * q * part[j]
                part[j] = 0.0
        for j in range(sets):
            m = mean[j]
            if not dedup:
                touches[layer, j] = m
                continue
            left = max(0.0, 1.0 - m / top_k)
            missed = touches[layer, j] * np.exp(m) * left**top_k
            missed = min(1.0, max(missed, 1.0 - m, 0.0))
            touches[layer, j] = 1.0 - missed
    return bad
