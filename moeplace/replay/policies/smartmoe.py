"""SmartMoE's online placement: experts exchanged between ranks, none copied (ATC 2023)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from moeplace.replay.maps import contiguous_table
from moeplace.replay.policy import Decision

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from moeplace.replay.policy import Bench, Situation

MOST_GROUPS = 12  # 3^12 subsets of subsets; beyond, the greedy map is taken as it is


class SmartMoe:
    """Looks for a better permutation of the experts every so many windows; no replicas.

    Greedy: experts by falling load, each to the lightest rank with room. Hybrid: greedily into M
    virtual devices, then dynamic programming over their subsets finds the assignment of M / R of
    them to each of R ranks with the lightest fullest rank. M is the largest multiple of the ranks
    up to 12 that divides the experts; with more than 6 ranks there is none with choices left, and
    the greedy map stands: there the dynamic programme, O(N · 4^M), does not fit. The map is taken
    if the modelled step time falls by more than the threshold.

    The text of the paper could not be read; its offline pools of parallel plans are left out, and
    so are its constants: 10 iterations and the threshold are ours.

    Parameters
    ----------
    bench
        The replay.
    every
        Windows between two searches.
    threshold
        Part of the step time that a new map must save.
    """

    def __init__(self, bench: Bench, every: float = 10.0, threshold: float = 0.05) -> None:
        self._bench, self._every, self._threshold = bench, max(1, int(every)), threshold

    def start(self, load: NDArray[np.float64]) -> NDArray[np.int32]:
        """Return expert parallelism."""
        return contiguous_table(self._bench.problem)

    def decide(self, situation: Situation) -> Decision | None:
        """Return a better permutation, if one is worth it."""
        if situation.number == 0 or situation.number % self._every:
            return None
        _, ranks, slots = self._bench.shape
        table = np.array([exchanged(q, ranks, slots) for q in situation.load], np.int32)
        old_s = self._bench.scorer.times(situation.load, situation.table).total_s.sum()
        new_s = self._bench.scorer.times(situation.load, table).total_s.sum()
        return Decision(table) if new_s < (1 - self._threshold) * old_s else None


def exchanged(load: NDArray[np.float64], ranks: int, slots: int) -> NDArray[np.int32]:
    """Return (ranks, slots) one layer's experts, each once, with a light fullest rank."""
    groups = virtual_devices(load.size, ranks)
    if groups <= ranks:
        return _greedy(load, ranks, -(-load.size // ranks), slots)
    packed = _greedy(load, groups, load.size // groups, load.size // groups)
    weight = load[packed].sum(axis=1)
    rank_of = assign_groups(weight, ranks)
    table = np.full((ranks, slots), -1, np.int32)
    for rank in range(ranks):
        mine = packed[rank_of == rank].ravel()
        table[rank, : mine.size] = mine
    return table


def virtual_devices(experts: int, ranks: int) -> int:
    """Return M, or `ranks` where no larger multiple up to 12 divides the experts."""
    fitting = [m for m in range(2 * ranks, MOST_GROUPS + 1, ranks) if experts % m == 0]
    return max(fitting, default=ranks)


def assign_groups(weight: NDArray[np.float64], ranks: int) -> NDArray[np.int64]:
    """Return (groups,) ranks with the smallest largest load, groups / ranks on each; exact.

    Dynamic programming over subsets: f(r, S) is the best largest load of the first r ranks when
    they hold S. Complexity: O(ranks · 3^groups) at most.
    """
    groups = weight.size
    each = groups // ranks
    size = np.array([bin(mask).count("1") for mask in range(1 << groups)])
    held = np.array(
        [sum(weight[g] for g in range(groups) if mask >> g & 1) for mask in range(1 << groups)]
    )
    parts = [int(mask) for mask in np.flatnonzero(size == each)]
    best: dict[int, tuple[float, tuple[int, ...]]] = {0: (0.0, ())}
    for _ in range(ranks):
        following: dict[int, tuple[float, tuple[int, ...]]] = {}
        for mask, (worst, chosen) in best.items():
            free = ~mask & ((1 << groups) - 1)
            first = free & -free  # the lowest group left goes to the next rank: ranks are alike
            for part in parts:
                if part & mask or not part & first:
                    continue
                value = max(worst, float(held[part]))
                known = following.get(mask | part)
                if known is None or value < known[0]:
                    following[mask | part] = (value, (*chosen, part))
        best = following
    _, chosen = best[(1 << groups) - 1]
    rank_of = np.empty(groups, np.int64)
    for rank, part in enumerate(chosen):
        for g in range(groups):
            if part >> g & 1:
                rank_of[g] = rank
    return rank_of


def _greedy(load: NDArray[np.float64], ranks: int, room: int, slots: int) -> NDArray[np.int32]:
    table = np.full((ranks, slots), -1, np.int32)
    held, used = np.zeros(ranks), np.zeros(ranks, np.int64)
    for expert in np.argsort(-load, kind="stable"):
        rank = int(np.where(used < room, held, np.inf).argmin())
        table[rank, used[rank]] = expert
        used[rank] += 1
        held[rank] += load[expert]
    return table
