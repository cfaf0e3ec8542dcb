"""Two ranks at a time, split in the best of all ways: reaches perfectly even loads.

Swaps of single replicas end a token or so above the mean; among the C(2n, n) ways to deal the 2n
slots of two ranks there is nearly always one with the very sum that is wanted. The number of
halves that add up to a given sum is why number partitioning is easy far from its phase transition
(Mertens, Phys. Rev. Lett. 81 (1998)).
"""

from __future__ import annotations

from functools import lru_cache
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from moeplace.formulations.solver import Run

MOST_SLOTS = 9  # C(18, 9) = 48,620 ways; 10 would be 184,756
ROUNDS = 60
REACHED = 1e-12  # relative


def deal_pairs(
    load: NDArray[np.float64],
    table: NDArray[np.int32],
    ranks: int,
    bound: NDArray[np.float64],
    run: Run,
) -> NDArray[np.int32]:
    """Return (layers, ranks · slots): tables with a lower largest rank load where one is found.

    The fullest rank is dealt anew with every other rank, best pair first; where no pair helps, a
    random pair of other ranks is dealt in a random way that does no harm. Ranks with more than 9
    slots are left as they are.

    Parameters
    ----------
    load
        (layers, experts) in any unit.
    table
        (layers, ranks · slots) experts, −1 empty.
    bound
        (layers,) largest rank loads that nothing can beat.
    run
        Its seed decides ties; its clock ends the search.
    """
    slots = table.shape[1] // ranks
    found = table.copy()
    if slots > MOST_SLOTS or ranks < 2:
        return found
    rng = np.random.default_rng(run.seed)
    for layer in range(table.shape[0]):
        held = found[layer].reshape(ranks, slots)
        count = np.bincount(held[held >= 0], minlength=load.shape[1])
        weight = np.append(load[layer] / np.maximum(count, 1), 0.0)  # index −1 is empty
        for _ in range(ROUNDS):
            if run.out_of_time() or not _improve(held, weight, bound[layer], rng):
                break
    return found


def _improve(
    held: NDArray[np.int32],
    weight: NDArray[np.float64],
    bound: float,
    rng: np.random.Generator,
) -> bool:
    """Deal the fullest rank with its best partner; return whether there is more to do."""
    rank_load = weight[held].sum(axis=1)
    worst = int(rank_load.argmax())
    if rank_load[worst] <= bound * (1 + REACHED):
        return False
    best: tuple[float, int, NDArray[np.int32]] | None = None
    for other in np.argsort(rank_load, kind="stable"):
        if other == worst:
            continue
        both = np.concatenate([held[worst], held[other]])
        sums, masks = _ways(both, weight)
        if not sums.size:
            continue
        peak = np.maximum(sums, weight[both].sum() - sums)
        at = int(peak.argmin())
        if best is None or peak[at] < best[0]:
            best = float(peak[at]), int(other), _dealt(both, masks[at])
        if best[0] <= bound * (1 + REACHED):
            break
    if best is not None and best[0] < rank_load[worst] * (1 - REACHED):
        held[worst], held[best[1]] = best[2]
        return True
    a, b = rng.choice(held.shape[0], 2, replace=False)
    both = np.concatenate([held[a], held[b]])
    sums, masks = _ways(both, weight)
    harmless = np.flatnonzero(
        np.maximum(sums, weight[both].sum() - sums) <= rank_load[worst] * (1 + REACHED)
    )
    if harmless.size:
        held[a], held[b] = _dealt(both, masks[rng.choice(harmless)])
    return True


def _ways(
    both: NDArray[np.int32], weight: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Return (ways,) loads of the first rank and (ways, slots of both) what it holds."""
    masks = _halves(both.size)
    order = np.argsort(both, kind="stable")
    twin = np.flatnonzero((both[order][1:] == both[order][:-1]) & (both[order][1:] >= 0))
    for at in twin:  # an expert that both hold stays on both
        masks = masks[masks[:, order[at]] != masks[:, order[at + 1]]]
    return masks @ weight[both], masks


def _dealt(both: NDArray[np.int32], mask: NDArray[np.bool_]) -> NDArray[np.int32]:
    dealt: NDArray[np.int32] = np.stack([both[mask], both[~mask]])
    return dealt


@lru_cache(maxsize=4)
def _halves(size: int) -> NDArray[np.bool_]:
    """Return (ways, size) every way to mark half of the slots, the first always marked."""
    chosen = np.array(list(combinations(range(1, size), size // 2 - 1)), np.int64)
    masks = np.zeros((len(chosen), size), bool)
    masks[:, 0] = True
    masks[np.arange(len(chosen))[:, None], chosen] = True
    return masks
