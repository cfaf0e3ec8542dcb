# mypy: disallow-untyped-decorators=False
"""Compiled search for the lightest fullest rank that few moved replicas can reach.

A target is set below the best value found; the load above it, summed over the ranks, is annealed
to zero; then the target falls. Unlike the fullest rank alone, this sum sees every rank that is too
full, so that rings of exchanges over several ranks are found one exchange at a time: the second
exchange of a ring moves again what the first had moved, and pays for one replica only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numba import njit

if TYPE_CHECKING:
    from numpy.typing import NDArray

SMALL = 1e-12  # relative; load above the target that counts as rounding error
CLOSE_ENOUGH = 1e-4  # relative distance from the floor that ends the search
FIRST_HEAT = 0.01  # temperature at the start of a round, in target loads
HOTTER = 3.0  # after a failure
LAST_HEAT = 0.00005
PATIENCE = 32  # failures, less successes, after which no lower target is tried


@njit(cache=True, nogil=True, error_model="numpy")
def move_few(
    load: NDArray[np.float64],
    table: NDArray[np.int32],
    current: NDArray[np.bool_],
    max_moves: int,
    max_replicas: int,
    floor: float,
    rounds: int,
    steps: int,
    seed: int,
) -> float:
    """Lower the largest rank load within a budget of moved replicas, in place; return it.

    Steps: exchange two slots of different ranks (one may be empty), put another expert into a
    slot (its own has further replicas, or there is room for one more), retire a replica.
    Complexity: O(rounds · steps · ranks) at most, mostly O(rounds · steps).

    Parameters
    ----------
    load
        (experts,) loads; replicas share them evenly.
    table
        (ranks, slots) experts, −1 empty; within the budget. Changed.
    current
        (experts, ranks) where replicas lie now; every other replica counts as moved.
    max_moves, max_replicas
        Most moved replicas, and most replicas.
    floor
        Load that no map can go below.
    rounds, steps
        Annealing rounds, and steps in each.
    seed
        Of the random steps.
    """
    ranks, slots = table.shape
    experts = load.size
    count = np.zeros(experts, np.int64)
    holds = np.zeros((experts, ranks), np.bool_)
    rank_load = np.zeros(ranks)
    state = np.array([seed * 2 + 1], np.uint64)
    origin = table.copy()
    work = table.copy()
    best: float = _read(load, table, count, holds, rank_load)
    failed = 0
    for _ in range(rounds):
        if best <= floor * (1.0 + CLOSE_ENOUGH) or failed == PATIENCE:
            break
        target = best - (best - floor) * 0.5 ** (1 + failed)
        work[:, :] = origin if failed % 2 == 1 else table
        _read(load, work, count, holds, rank_load)
        moved, total = _moved(holds, current), count.sum()
        over = 0.0
        for r in range(ranks):
            over += max(0.0, rank_load[r] - target)
        heat = FIRST_HEAT * HOTTER ** (failed % 4) * target
        cool = (LAST_HEAT * target / heat) ** (1.0 / steps)
        for _ in range(steps):
            if over <= SMALL * target:
                break
            heat *= cool
            a = _any(state, ranks)
            if rank_load[a] <= target and _any(state, 4) > 0:
                for _ in range(4):  # rather a rank that is too full
                    a = _any(state, ranks)
                    if rank_load[a] > target:
                        break
            sa = _any(state, slots)
            x = work[a, sa]
            kind = _any(state, 8)
            if kind < 6:
                b = _any(state, ranks)
                sb = _any(state, slots)
                if kind >= 4 and x >= 0 and not current[x, a]:
                    # home, against a replica that is no more at home than this one
                    for _ in range(8):
                        b = _any(state, ranks)
                        sb = _any(state, slots)
                        if current[x, b]:
                            break
                y = work[b, sb]
                if a == b or x == y or (x >= 0 and holds[x, b]) or (y >= 0 and holds[y, a]):
                    continue
                shift, more = 0.0, 0
                if x >= 0:
                    shift += load[x] / count[x]
                    more += int(current[x, a]) - int(current[x, b])
                if y >= 0:
                    shift -= load[y] / count[y]
                    more += int(current[y, b]) - int(current[y, a])
                if more > 0 and moved + more > max_moves:
                    continue
                change = (
                    max(0.0, rank_load[a] - shift - target)
                    - max(0.0, rank_load[a] - target)
                    + max(0.0, rank_load[b] + shift - target)
                    - max(0.0, rank_load[b] - target)
                )
                if change > 0.0 and change > -heat * np.log(_unit(state)):
                    continue
                rank_load[a] -= shift
                rank_load[b] += shift
                work[a, sa], work[b, sb] = y, x
                if x >= 0:
                    holds[x, a], holds[x, b] = False, True
                if y >= 0:
                    holds[y, b], holds[y, a] = False, True
                moved += more
                over += change
                continue
            y = -1 if kind == 7 and _any(state, 4) == 0 else _any(state, experts)
            if x == y or (y >= 0 and holds[y, a]) or (x >= 0 and count[x] == 1):
                continue
            if y >= 0 and (count[y] == ranks or (x < 0 and total >= max_replicas)):
                continue
            more = 0
            if x >= 0 and not current[x, a]:
                more -= 1
            if y >= 0 and not current[y, a]:
                more += 1
            if more > 0 and moved + more > max_moves:
                continue
            _put(a, x, y, load, count, holds, rank_load)
            after = 0.0
            for r in range(ranks):
                after += max(0.0, rank_load[r] - target)
            change = after - over
            if change > 0.0 and change > -heat * np.log(_unit(state)):
                _put(a, y, x, load, count, holds, rank_load)
                continue
            work[a, sa] = y
            moved += more
            total += int(y >= 0) - int(x >= 0)
            over = after
        value = _read(load, work, count, holds, rank_load)
        if value < best:
            table[:, :] = work
            best = value
            failed = max(0, failed - 1)
        else:
            failed += 1
    return best


@njit(cache=True, nogil=True, error_model="numpy")
def _read(
    load: NDArray[np.float64],
    table: NDArray[np.int32],
    count: NDArray[np.int64],
    holds: NDArray[np.bool_],
    rank_load: NDArray[np.float64],
) -> float:
    """Fill counts, places and rank loads; return the largest rank load."""
    for e in range(count.size):
        count[e] = 0
        for r in range(rank_load.size):
            holds[e, r] = False
    for r in range(table.shape[0]):
        for s in range(table.shape[1]):
            if table[r, s] >= 0:
                count[table[r, s]] += 1
                holds[table[r, s], r] = True
    largest = 0.0
    for r in range(table.shape[0]):
        rank_load[r] = 0.0
        for s in range(table.shape[1]):
            if table[r, s] >= 0:
                rank_load[r] += load[table[r, s]] / count[table[r, s]]
        largest = max(largest, rank_load[r])
    return largest


@njit(cache=True, nogil=True, error_model="numpy")
def _moved(holds: NDArray[np.bool_], current: NDArray[np.bool_]) -> int:
    moved = 0
    for e in range(holds.shape[0]):
        for r in range(holds.shape[1]):
            if holds[e, r] and not current[e, r]:
                moved += 1
    return moved


@njit(cache=True, nogil=True, error_model="numpy")
def _put(
    rank: int,
    out: int,
    into: int,
    load: NDArray[np.float64],
    count: NDArray[np.int64],
    holds: NDArray[np.bool_],
    rank_load: NDArray[np.float64],
) -> None:
    """Take the replica of `out` off a rank and put one of `into` there; −1 for none."""
    if out >= 0:
        before, after = load[out] / count[out], load[out] / (count[out] - 1)
        holds[out, rank] = False
        rank_load[rank] -= before
        count[out] -= 1
        for r in range(rank_load.size):
            if holds[out, r]:
                rank_load[r] += after - before
    if into >= 0:
        before, after = load[into] / count[into], load[into] / (count[into] + 1)
        for r in range(rank_load.size):
            if holds[into, r]:
                rank_load[r] += after - before
        holds[into, rank] = True
        rank_load[rank] += after
        count[into] += 1


@njit(cache=True, nogil=True, error_model="numpy")
def _next(state: NDArray[np.uint64]) -> np.uint64:
    """Marsaglia's xorshift (J. Stat. Softw. 8(14), 2003), shifts 13, 7, 17."""
    x: np.uint64 = state[0]
    x ^= x << np.uint64(13)
    x ^= x >> np.uint64(7)
    x ^= x << np.uint64(17)
    state[0] = x
    return x


@njit(cache=True, nogil=True, error_model="numpy")
def _any(state: NDArray[np.uint64], below: int) -> int:
    """Return a whole number from 0 to below − 1."""
    number: int = np.int64(_next(state) >> np.uint64(33))
    return number % below


@njit(cache=True, nogil=True, error_model="numpy")
def _unit(state: NDArray[np.uint64]) -> float:
    """Return a number in (0, 1]."""
    return (float(_next(state) >> np.uint64(11)) + 1.0) / 9007199254740992.0  # 2⁵³
