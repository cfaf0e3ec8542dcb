"""Balance that a limit of moved replicas allows after the loads have drifted."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.timing import table
from moeplace.formulations.bounds.load import max_rank_pairs_bound
from moeplace.formulations.heuristics.balance import balanced_table, max_rank_load
from moeplace.formulations.heuristics.movement import balance_within

if TYPE_CHECKING:
    from numpy.typing import NDArray

EXPERTS, RANKS, SLOTS = 256, 32, 9
SPREAD, DRIFT = 0.8, 0.5  # standard deviations of the logarithms: loads, and how they change
LIMITS = (4, 8, 16, 32, 64)
SEEDS = 8


def report(quick: bool) -> str:
    """Return a table: fullest over mean rank load by limit, for several seeds and their mean."""
    limits = LIMITS[:2] if quick else LIMITS
    found = np.array([_one(seed, limits) for seed in range(2 if quick else SEEDS)])
    rows = [
        [f"seed {seed}", *(f"{v:.4f}" for v in row[: len(limits) + 2])]
        for seed, row in enumerate(found)
    ]
    rows.append(["mean", *(f"{v:.4f}" for v in found.mean(axis=0)[: len(limits) + 2])])
    spent = found.mean(axis=0)[len(limits) + 2 :]
    rows.append(["ms a layer", "", *(f"{v:.0f}" for v in spent), ""])
    headers = ["", "before", *(f"≤ {limit} moves" for limit in limits), "from scratch"]
    text = (
        f"Fullest over mean rank load, {EXPERTS} experts in {RANKS} × {SLOTS} slots, balanced for "
        f"lognormal loads (σ {SPREAD}), which then drift (lognormal, σ {DRIFT}). The bound is 1 to "
        "four digits."
    )
    return f"{text}\n\n{table(headers, rows)}"


def drifted(seed: int) -> tuple[NDArray[np.float64], NDArray[np.int32]]:
    """Return loads in mean rank loads, and the (ranks, slots) map for those before the drift."""
    rng = np.random.default_rng(seed)
    old = rng.lognormal(sigma=SPREAD, size=EXPERTS)
    new = old * rng.lognormal(sigma=DRIFT, size=EXPERTS)
    placed = balanced_table(old[None], RANKS, SLOTS, RANKS * SLOTS)
    return new * (RANKS / new.sum()), placed.reshape(RANKS, SLOTS)


def _one(seed: int, limits: tuple[int, ...]) -> list[float]:
    load, placed = drifted(seed)
    current = np.zeros((EXPERTS, RANKS), np.bool_)
    rank, slot = np.nonzero(placed >= 0)
    current[placed[rank, slot], rank] = True
    floor = float(max_rank_pairs_bound(load, RANKS, SLOTS, RANKS * SLOTS).value[0])
    values, spent = [], []
    for limit in limits:
        moved = placed.copy()
        started = time.process_time()
        values.append(
            balance_within(
                load, moved, current, max_moves=limit, max_replicas=RANKS * SLOTS, floor=floor
            )
        )
        spent.append(1e3 * (time.process_time() - started))
    scratch = balanced_table(load[None], RANKS, SLOTS, RANKS * SLOTS)
    before, after = (
        float(max_rank_load(load[None], t.reshape(1, -1), RANKS)[0]) for t in (placed, scratch)
    )
    return [before, *values, after, *spent]
