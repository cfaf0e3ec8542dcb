"""What a step puts on the links: de-duplicated copies over fixed routes.

Every kernel sends one copy to each *destination set* that a token touches: single ranks, whole
nodes, or the ranks behind one link of a multicast tree. How often a token from source s crosses
link l on behalf of set j is fixed by the fabric alone, so a placement enters only through the
expected touches of the sets.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from moeplace.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from moeplace.hwmodels.topology import Topology

DEDUP_MODES = ("none", "rank", "node", "multicast")


@dataclass(frozen=True, eq=False)
class CommPlan:
    """How touches of destination sets become link crossings, for one fabric and kernel.

    Attributes
    ----------
    dedup
        ``none`` one copy per (token, expert), ``rank`` one per distinct rank, ``node`` one per
        distinct node over the NIC and one per distinct rank inside, ``multicast`` one per link
        of the tree of routes (DESIGN §5, copies).
    members
        (sets, ranks) bool; the ranks of each destination set.
    source, set_index
        (messages,) who sends, on behalf of which set.
    latency_s
        (messages,) latency of the route from the token's source to the end of the message.
    message, dispatch_link, combine_link
        (crossings,) one row per link a message crosses, on the way out and on the way back.
    """

    dedup: str
    topology: Topology
    members: NDArray[np.bool_]
    source: NDArray[np.int64]
    set_index: NDArray[np.int64]
    latency_s: NDArray[np.float64]
    message: NDArray[np.int64]
    dispatch_link: NDArray[np.int64]
    combine_message: NDArray[np.int64]
    combine_link: NDArray[np.int64]

    @property
    def num_sets(self) -> int:
        """Destination sets J."""
        return int(self.members.shape[0])

    @cached_property
    def uniform_use(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """(links, sets) expected crossings per touch, dispatch and combine.

        Sources are uniform over the ranks: a touch belongs to each source with chance 1/R.
        """
        size = self.topology.num_links * self.num_sets
        both = []
        for message, link in (
            (self.message, self.dispatch_link),
            (self.combine_message, self.combine_link),
        ):
            flat = link * self.num_sets + self.set_index[message]
            use = np.bincount(flat, minlength=size).astype(float) / self.topology.num_ranks
            both.append(use.reshape(self.topology.num_links, self.num_sets))
        return both[0], both[1]

    @cached_property
    def uniform_messages(self) -> NDArray[np.float64]:
        """(sets,) expected copies per touch with uniform sources."""
        count = np.bincount(self.set_index, minlength=self.num_sets)
        return count / self.topology.num_ranks

    @cached_property
    def uniform_latency_s(self) -> NDArray[np.float64]:
        """(sets,) latency of the longest route to each set over all sources."""
        latency = np.zeros(self.num_sets)
        np.maximum.at(latency, self.set_index, self.latency_s)
        return latency


def plan_communication(topology: Topology, dedup: str) -> CommPlan:
    """Lay out the messages of one dispatch (and of the combine that mirrors it).

    Complexity: O(ranks² × diameter) time and memory.

    Raises
    ------
    InputError
        If `dedup` is not one of :data:`DEDUP_MODES`.
    """
    if dedup not in DEDUP_MODES:
        raise InputError(f"unknown dedup {dedup!r}: use one of {', '.join(DEDUP_MODES)}")
    if dedup == "multicast":
        return _plan_multicast(topology)
    messages = _node_messages(topology) if dedup == "node" else _rank_messages(topology)
    members = np.eye(topology.num_ranks, dtype=bool)
    if dedup == "node":
        nodes = topology.node_of_rank[None, :] == np.arange(topology.num_nodes)[:, None]
        members = np.vstack([members, nodes])
    source, index, latency = [], [], []
    out: list[int] = []
    back: list[int] = []
    out_message: list[int] = []
    back_message: list[int] = []
    for number, (token_source, set_index, start, end, before_s) in enumerate(messages):
        route = topology.route(start, end)
        reverse = topology.route(end, start)
        source.append(token_source)
        index.append(set_index)
        latency.append(before_s + float(topology.latency_s[route].sum()))
        out.extend(route)
        out_message.extend([number] * route.size)
        back.extend(reverse)
        back_message.extend([number] * reverse.size)
    return CommPlan(
        dedup=dedup,
        topology=topology,
        members=members,
        source=np.array(source, np.int64),
        set_index=np.array(index, np.int64),
        latency_s=np.array(latency, float),
        message=np.array(out_message, np.int64),
        dispatch_link=np.array(out, np.int64),
        combine_message=np.array(back_message, np.int64),
        combine_link=np.array(back, np.int64),
    )


def _rank_messages(topology: Topology) -> Iterator[tuple[int, int, int, int, float]]:
    """Yield (token source, set, sender, receiver, earlier latency): one message per rank."""
    for source in range(topology.num_ranks):
        for destination in range(topology.num_ranks):
            if source != destination:
                yield source, destination, source, destination, 0.0


def _node_messages(topology: Topology) -> Iterator[tuple[int, int, int, int, float]]:
    """Yield messages of a two-stage kernel: to each node over the NIC, then inside the node.

    The copy lands on the rank with the sender's index inside its node (DeepEP normal kernels,
    README: asymmetric-domain forwarding from NIC to the fast tier).
    """
    ranks, node = topology.num_ranks, topology.node_of_rank
    residents = [np.flatnonzero(node == n) for n in range(topology.num_nodes)]
    for source in range(ranks):
        local = int(source - residents[node[source]][0])
        for target, inside in enumerate(residents):
            landing, before_s = source, 0.0
            if target != node[source]:
                landing = int(inside[local % inside.size])
                yield source, ranks + target, source, landing, 0.0
                before_s = float(topology.latency_s[topology.route(source, landing)].sum())
            for destination in inside:
                if destination != landing:
                    yield source, int(destination), landing, int(destination), before_s


def _plan_multicast(topology: Topology) -> CommPlan:
    """Send one copy over every link of the union of routes from the source.

    A link carries the token if any rank behind it is touched, so each distinct set of ranks
    behind a link becomes a destination set. The combine is the reverse tree with in-network
    reduction.
    """
    ranks = topology.num_ranks
    number_of_set: dict[bytes, int] = {}
    sets: list[NDArray[np.bool_]] = []
    source_of, set_of, latency_of, link_of = [], [], [], []
    for source in range(ranks):
        behind: dict[int, NDArray[np.bool_]] = {}
        arrival_s: dict[int, float] = {}
        for destination in range(ranks):
            elapsed = 0.0
            for link in topology.route(source, destination):
                elapsed += float(topology.latency_s[link])
                behind.setdefault(int(link), np.zeros(ranks, bool))[destination] = True
                arrival_s[int(link)] = elapsed
        for link, mask in behind.items():
            number = number_of_set.setdefault(mask.tobytes(), len(sets))
            if number == len(sets):
                sets.append(mask)
            source_of.append(source)
            set_of.append(number)
            latency_of.append(arrival_s[link])
            link_of.append(link)
    message = np.arange(len(link_of))
    links = np.array(link_of, np.int64)
    return CommPlan(
        dedup="multicast",
        topology=topology,
        members=np.array(sets, bool).reshape(-1, ranks),
        source=np.array(source_of, np.int64),
        set_index=np.array(set_of, np.int64),
        latency_s=np.array(latency_of, float),
        message=message,
        dispatch_link=links,
        combine_message=message,
        combine_link=topology.reverse_link[links] if links.size else links,
    )
