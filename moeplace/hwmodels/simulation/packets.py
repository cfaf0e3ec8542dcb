"""A discrete-event simulator of packets on an XY mesh.

It shares no code with the analytic model: it finds its own way over the mesh. Every directed link
sends one packet at a time, first come first served; a packet leaves for the next link when it has
arrived whole (packets are small, so messages of many packets are pipelined). Buffers are not
limited and dies can inject into all their links at once.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass
from typing import TYPE_CHECKING

from moeplace.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

Link = tuple[int, int]


@dataclass(frozen=True)
class Packet:
    """One packet; with several destinations it is copied where their ways part.

    Attributes
    ----------
    source
        Die, row · columns + column.
    destinations
        Dies; the source among them costs nothing.
    size_bytes
        Bytes on every link it crosses.
    """

    source: int
    destinations: tuple[int, ...]
    size_bytes: float


def simulate_mesh(
    rows: int,
    columns: int,
    packets: Sequence[Packet],
    *,
    bandwidth_Bps: float,
    hop_s: float,
) -> float:
    """Return the time at which the last packet has arrived, all being ready at 0.

    Packets of a die start in the order given. Complexity: O(crossings · log crossings).

    Raises
    ------
    InputError
        If a die is not on the mesh or bandwidth is not positive.
    """
    if bandwidth_Bps <= 0 or hop_s < 0:
        raise InputError("bandwidth must be positive and the hop latency not negative")
    dies = rows * columns
    free_at: dict[Link, float] = {}
    # (time, order of creation, packet, die it is at)
    events: list[tuple[float, int, int, int]] = []
    for number, packet in enumerate(packets):
        if not all(0 <= die < dies for die in (packet.source, *packet.destinations)):
            raise InputError(f"packet {number}: a die is not on the {rows}x{columns} mesh")
        events.append((0.0, number, number, packet.source))
    branches = [_branches(packet, columns) for packet in packets]
    heapq.heapify(events)
    order = len(packets)
    finished = 0.0
    while events:
        now, _, number, here = heapq.heappop(events)
        for there in branches[number].get(here, ()):
            start = max(now, free_at.get((here, there), 0.0))
            sent = start + packets[number].size_bytes / bandwidth_Bps
            free_at[here, there] = sent
            arrival = sent + hop_s
            finished = max(finished, arrival)
            heapq.heappush(events, (arrival, order, number, there))
            order += 1
    return finished


def _branches(packet: Packet, columns: int) -> dict[int, list[int]]:
    """Return to which neighbors each die on the way passes a packet on: the union of XY ways."""
    onward: dict[int, list[int]] = {}
    for destination in packet.destinations:
        here = packet.source
        while here != destination:
            there = _next_die(here, destination, columns)
            known = onward.setdefault(here, [])
            if there not in known:
                known.append(there)
            here = there
    return onward


def _next_die(here: int, destination: int, columns: int) -> int:
    """Return the neighbor that is next: first along the row, then along the column."""
    row, column = divmod(here, columns)
    goal_row, goal_column = divmod(destination, columns)
    if column != goal_column:
        return here + (1 if goal_column > column else -1)
    return here + (columns if goal_row > row else -columns)
