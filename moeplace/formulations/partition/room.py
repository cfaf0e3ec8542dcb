"""What ranks may hold, the plain partitions that use it, and what no partition can meet."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from moeplace.errors import InfeasibleError

if TYPE_CHECKING:
    from numpy.typing import NDArray

UNSET = 2**62


@dataclass(frozen=True, eq=False)
class Room:
    """What each rank may hold: (ranks,) `slots`, and (ranks,) `load`, 2^62 for no cap."""

    slots: NDArray[np.int64]
    load: NDArray[np.int64]

    @property
    def ranks(self) -> int:
        """Ranks."""
        return int(self.slots.size)

    def join(self, first: int, middle: int, last: int) -> Room:
        """Return the room of ranks first..middle−1 and middle..last−1 as two ranks."""
        slots, load = (
            np.array([x[first:middle].sum(), x[middle:last].sum()], np.int64)
            for x in (self.slots, np.minimum(self.load, UNSET // max(1, self.load.size)))
        )
        return Room(slots, load)


def contiguous(num_experts: int, slots: NDArray[np.int64]) -> NDArray[np.int32]:
    """Return (experts,) ranks: experts in order, ranks as equal as their slots allow."""
    size = np.zeros(slots.size, np.int64)
    while left := num_experts - int(size.sum()):
        open_ranks = np.flatnonzero(size < slots)
        share = max(1, left // open_ranks.size)
        size[open_ranks[:left]] += share
        size = np.minimum(size, slots)
    return np.repeat(np.arange(slots.size, dtype=np.int32), size)


def group_aligned(num_experts: int, num_groups: int, slots: NDArray[np.int64]) -> NDArray[np.int32]:
    """Return (experts,) ranks in which consecutive groups of experts are cut as little as can be.

    The group with most experts left goes to the rank with most slots left, again and again.

    Parameters
    ----------
    num_groups
        Equal groups of consecutive experts, the router's.
    slots
        (ranks,) with room for all experts.
    """
    part = np.zeros(num_experts, np.int32)
    begin = np.arange(num_groups) * num_experts // num_groups
    end = np.append(begin[1:], num_experts)
    free = slots.copy()
    while (end > begin).any():
        group, rank = int((end - begin).argmax()), int(free.argmax())
        size = min(int(end[group] - begin[group]), int(free[rank]))
        part[begin[group] : begin[group] + size] = rank
        begin[group] += size
        free[rank] -= size
    return part


def longest_first(
    load: NDArray[np.int64] | NDArray[np.float64], slots: NDArray[np.int64]
) -> NDArray[np.int32]:
    """Return (experts,) ranks: heaviest expert first, on the lightest rank with a free slot."""
    part = np.zeros(load.size, np.int32)
    rank_load = np.zeros(slots.size)
    free = slots.copy()
    for e in np.argsort(-load, kind="stable"):
        rank = int(np.where(free > 0, rank_load, np.inf).argmin())
        part[e] = rank
        rank_load[rank] += load[e]
        free[rank] -= 1
    return part


def refuse_impossible(load: NDArray[np.int64], room: Room, cap: int, max_load: float) -> None:
    """Raise an InfeasibleError if a bound on the fullest rank lies above the cap.

    Parameters
    ----------
    load
        (experts,) integer units.
    cap, max_load
        The cap in the same units, and as the caller gave it, in mean rank loads.
    """
    load = np.sort(load)[::-1]
    mean = int(load.sum()) / room.ranks
    least, why = int(load[0]), "the load of the heaviest expert"
    companions = load.size - int(room.slots.sum() - room.slots.min()) - 1
    if companions > 0:
        least += int(load[load.size - companions :].sum())
        why += f" and the {companions} lightest ones, which some rank must hold with it"
    for each in range(1, (load.size - 1) // room.ranks + 1):
        # among the R · each + 1 heaviest, some rank holds each + 1
        crowd = int(load[room.ranks * each - each : room.ranks * each + 1].sum())
        if crowd > least:
            least = crowd
            why = f"the load of {each + 1} of the {room.ranks * each + 1} heaviest experts together"
    if least > cap:
        raise InfeasibleError(
            f"max_load {max_load:g} cannot be met: {why} is {least / mean:.4g} mean rank loads at "
            "least; raise max_load or use other ranks"
        )
