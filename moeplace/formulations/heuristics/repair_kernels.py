# mypy: disallow-untyped-decorators=False
"""Compiled repair of a map in use: the replicas that bring most balance for each one moved.

The load above a target, summed over the ranks, falls with every step, so the search ends. A step
exchanges two replicas of different ranks, or puts another expert into the slot of one that has
further replicas.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numba import njit

if TYPE_CHECKING:
    from numpy.typing import NDArray

SMALL = 1e-12  # relative; load above the target that counts as rounding error
NOW, ONE_MORE, ONE_LESS = 0, 1, 2  # rows of `share`: (3, experts) load of one replica


@njit(cache=True, nogil=True)
def repair_layers(
    load: NDArray[np.float64],
    table: NDArray[np.int32],
    target: NDArray[np.float64],
    max_steps: int,
    worst: NDArray[np.float64],
) -> None:
    """Lower the fullest rank of every layer to its target with few moved replicas, in place.

    Second copies of an expert on a rank give way first. Complexity of a step: O(slots of the rank ·
    (replicas + experts)), and O(ranks) for each replica of an expert that has several.

    Parameters
    ----------
    load
        (layers, experts) loads; replicas share them evenly.
    table
        (layers, ranks, slots) experts, each at least once in a layer. Changed.
    target
        (layers,) load at which a layer is left.
    max_steps
        Most steps of a layer.
    worst
        (layers,) overwritten: the largest rank load reached.
    """
    layers, ranks, _ = table.shape
    experts = load.shape[1]
    count = np.zeros(experts, np.int64)
    share = np.zeros((3, experts))
    holds = np.zeros((experts, ranks), np.bool_)
    home = np.zeros((experts, ranks), np.bool_)
    rank_load = np.zeros(ranks)
    for layer in range(layers):
        own = load[layer]
        rows = table[layer]
        _read(own, rows, count, share, holds, rank_load)
        home[:, :] = holds
        if _without_doubles(own, rows, count, holds):
            _read(own, rows, count, share, holds, rank_load)
        for _ in range(max_steps):
            full = 0
            for r in range(1, ranks):
                if rank_load[r] > rank_load[full]:
                    full = r
            if rank_load[full] <= target[layer] * (1.0 + SMALL):
                break
            if not _step(own, rows, count, share, holds, home, rank_load, full, target[layer]):
                break
        worst[layer] = _read(own, rows, count, share, holds, rank_load)


@njit(cache=True, nogil=True)
def keep_slots(table: NDArray[np.int32], old: NDArray[np.int32]) -> None:
    """Give every expert that stays on its rank the slot it had in `old`, in place.

    Both are (layers, ranks, slots); the others take the free slots in their order.
    """
    layers, ranks, slots = table.shape
    taken = np.zeros(slots, np.bool_)
    row = np.empty(slots, np.int32)
    for layer in range(layers):
        for r in range(ranks):
            for s in range(slots):
                taken[s] = False
                row[s] = -1
            for s in range(slots):
                for t in range(slots):
                    if not taken[t] and table[layer, r, t] == old[layer, r, s]:
                        row[s] = table[layer, r, t]
                        taken[t] = True
                        break
            t = 0
            for s in range(slots):
                if row[s] < 0:
                    while taken[t]:
                        t += 1
                    row[s] = table[layer, r, t]
                    taken[t] = True
            for s in range(slots):
                table[layer, r, s] = row[s]


@njit(cache=True, nogil=True)
def common_experts(
    table: NDArray[np.int32], old: NDArray[np.int32], experts: int, common: NDArray[np.int64]
) -> None:
    """Count, into (layers, ranks of table, ranks of old), the experts that two ranks share."""
    layers, ranks, slots = table.shape
    holds = np.zeros((ranks, experts), np.bool_)
    for layer in range(layers):
        for r in range(ranks):
            for e in range(experts):
                holds[r, e] = False
            for s in range(slots):
                if old[layer, r, s] >= 0:
                    holds[r, old[layer, r, s]] = True
        for a in range(ranks):
            for b in range(ranks):
                number = 0
                for s in range(slots):
                    if holds[b, table[layer, a, s]]:
                        number += 1
                common[layer, a, b] = number


@njit(cache=True, nogil=True)
def _read(
    load: NDArray[np.float64],
    table: NDArray[np.int32],
    count: NDArray[np.int64],
    share: NDArray[np.float64],
    holds: NDArray[np.bool_],
    rank_load: NDArray[np.float64],
) -> float:
    """Fill counts, shares, places and rank loads; return the largest rank load."""
    ranks, slots = table.shape
    for e in range(count.size):
        count[e] = 0
        for r in range(ranks):
            holds[e, r] = False
    for r in range(ranks):
        for s in range(slots):
            count[table[r, s]] += 1
            holds[table[r, s], r] = True
    for e in range(count.size):
        _set_share(load, count, share, e)
    largest = 0.0
    for r in range(ranks):
        rank_load[r] = 0.0
        for s in range(slots):
            rank_load[r] += share[NOW, table[r, s]]
        largest = max(largest, rank_load[r])
    return largest


@njit(cache=True, nogil=True)
def _set_share(
    load: NDArray[np.float64], count: NDArray[np.int64], share: NDArray[np.float64], expert: int
) -> None:
    """Write the load of one replica of an expert: as it is, with one more, with one less."""
    share[NOW, expert] = load[expert] / count[expert]
    share[ONE_MORE, expert] = load[expert] / (count[expert] + 1)
    share[ONE_LESS, expert] = load[expert] / max(1, count[expert] - 1)


@njit(cache=True, nogil=True)
def _without_doubles(
    load: NDArray[np.float64],
    table: NDArray[np.int32],
    count: NDArray[np.int64],
    holds: NDArray[np.bool_],
) -> bool:
    """Replace second copies on a rank by the expert with the most load a replica it lacks."""
    ranks, slots = table.shape
    changed = False
    for r in range(ranks):
        for s in range(1, slots):
            double = False
            for t in range(s):
                if table[r, t] == table[r, s]:
                    double = True
            if not double:
                continue
            chosen = -1
            for e in range(count.size):
                if holds[e, r]:
                    continue
                if chosen < 0 or load[e] / count[e] > load[chosen] / count[chosen]:
                    chosen = e
            if chosen < 0:
                continue  # the rank holds every expert
            count[table[r, s]] -= 1
            count[chosen] += 1
            holds[chosen, r] = True
            table[r, s] = chosen
            changed = True
    return changed


@njit(cache=True, nogil=True)
def _step(
    load: NDArray[np.float64],
    table: NDArray[np.int32],
    count: NDArray[np.int64],
    share: NDArray[np.float64],
    holds: NDArray[np.bool_],
    home: NDArray[np.bool_],
    rank_load: NDArray[np.float64],
    full: int,
    target: float,
) -> bool:
    """Take the step with the most excess load removed for each moved replica; False without one.

    Looks at what lowers the load of the fullest rank.
    """
    ranks, slots = table.shape
    best = SMALL * target
    kind, at, rank, slot, into = 0, 0, 0, 0, 0
    excess = rank_load[full] - target
    # By one more replica of an expert at most, and by one less at least, but for ranks with both.
    relief = np.zeros(count.size)
    burden = np.zeros(count.size)
    for r in range(ranks):
        above = max(0.0, rank_load[r] - target)
        for s in range(slots):
            e = table[r, s]
            relief[e] += min(above, share[NOW, e] - share[ONE_MORE, e])
            if count[e] > 1:
                burden[e] += _more_above(rank_load[r] - target, share, e)
    for a in range(slots):
        x = table[full, a]
        own = share[NOW, x]
        back = int(not home[x, full])  # moved already: taking it away costs nothing
        for r in range(ranks):
            if holds[x, r]:
                continue
            room = target - rank_load[r]
            moves_x = int(not home[x, r])
            for b in range(slots):
                y = table[r, b]
                moves = moves_x - int(not home[y, r])
                shift = own - share[NOW, y]
                if room > 0.0 and shift > 0.0 and not holds[y, full]:
                    gain = min(excess, shift) - max(0.0, shift - room)
                    value = gain / max(0.5, moves - back + int(not home[y, full]))
                    if value > best:
                        best, kind, at, rank, slot = value, 1, a, r, b
                if count[y] > 1:
                    most = relief[x] - burden[y] + _more_above(-room, share, y)
                    after = share[ONE_MORE, x] - share[NOW, y] - room
                    most += max(0.0, -room) - max(0.0, after)
                    if most > best * max(0.5, moves):
                        gain = _replacing(share, holds, rank_load, target, r, y, x)
                        value = gain / max(0.5, moves)
                        if value > best:
                            best, kind, rank, slot, into = value, 2, r, b, x
        if count[x] == 1:
            continue
        for y in range(count.size):  # another expert in this slot
            less = own - share[ONE_MORE, y]
            if holds[y, full] or less <= 0.0:
                continue
            cost = max(0.5, int(not home[y, full]) - back)
            most = min(excess, less) + relief[y] - burden[x] + _more_above(excess, share, x)
            if most > best * cost:
                value = _replacing(share, holds, rank_load, target, full, x, y) / cost
                if value > best:
                    best, kind, rank, slot, into = value, 2, full, a, y
    if kind == 0:
        return False
    if kind == 1:
        x, y = table[full, at], table[rank, slot]
        shift = share[NOW, x] - share[NOW, y]
        rank_load[full] -= shift
        rank_load[rank] += shift
        table[full, at], table[rank, slot] = y, x
        holds[x, full], holds[y, full] = False, True
        holds[x, rank], holds[y, rank] = True, False
        return True
    out = table[rank, slot]
    for r in range(ranks):
        rank_load[r] += _change(share, holds, rank, out, into, r)
    table[rank, slot] = into
    holds[out, rank], holds[into, rank] = False, True
    count[out] -= 1
    count[into] += 1
    _set_share(load, count, share, out)
    _set_share(load, count, share, into)
    return True


@njit(cache=True, nogil=True)
def _more_above(above: float, share: NDArray[np.float64], expert: int) -> float:
    """Return how much more lies above the target on a rank when `expert` has one replica less."""
    more = above + share[ONE_LESS, expert] - share[NOW, expert]
    change: float = max(0.0, more) - max(0.0, above)
    return change


@njit(cache=True, nogil=True)
def _replacing(
    share: NDArray[np.float64],
    holds: NDArray[np.bool_],
    rank_load: NDArray[np.float64],
    target: float,
    rank: int,
    out: int,
    into: int,
) -> float:
    """Return by how much the load above the target falls, all ranks together."""
    gain = 0.0
    for r in range(rank_load.size):
        if r == rank or holds[out, r] or holds[into, r]:
            after = rank_load[r] + _change(share, holds, rank, out, into, r)
            gain += max(0.0, rank_load[r] - target) - max(0.0, after - target)
    return gain


@njit(cache=True, nogil=True)
def _change(
    share: NDArray[np.float64],
    holds: NDArray[np.bool_],
    rank: int,
    out: int,
    into: int,
    r: int,
) -> float:
    """Return what rank `r` gains when `into` takes the slot of `out` on `rank`."""
    if r == rank:
        change: float = share[ONE_MORE, into] - share[NOW, out]
        return change
    change = 0.0
    if holds[out, r]:
        change += share[ONE_LESS, out] - share[NOW, out]
    if holds[into, r]:
        change += share[ONE_MORE, into] - share[NOW, into]
    return change
