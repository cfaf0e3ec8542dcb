"""From one map to the next in rounds that keep every expert served and every slot counted."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from moeplace.errors import CheckFailedError, InfeasibleError, InputError
from moeplace.placement import keep_slots
from moeplace.replay.training import route_costs

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from moeplace.hwmodels import Topology
    from moeplace.placement import Placement

SCHEMA = "moeplace.plan/1"
ANY = 2**31 - 1


@dataclass(frozen=True)
class Copy:
    """One copy of an expert's weights into a slot.

    Attributes
    ----------
    expert
        Whose weights.
    source, target
        Slots they are read from and are served from at the end of the round.
    staged
        Whether they arrive in a buffer beside the slots of the target's rank and are written into
        the slot, over an expert in use until then, at the step boundary that ends the round.
        Otherwise they arrive in the slot itself, which serves nobody during the round.
    """

    expert: int
    source: int
    target: int
    staged: bool


@dataclass(frozen=True)
class Round:
    """Copies of one layer that are made at the same time; the routing changes before and after.

    Attributes
    ----------
    layer
        Row of the placement.
    copies
        In no order.
    seconds, nbytes
        Time on the links and bytes; 0 where no system is given.
    """

    layer: int
    copies: tuple[Copy, ...]
    seconds: float = 0.0
    nbytes: float = 0.0


@dataclass(frozen=True, eq=False)
class Schedule:
    """Rounds in order, layer by layer.

    Attributes
    ----------
    old, new
        Placements before and after. Experts that stay on their rank keep their slot, so that the
        slots of a rank may be in another order than asked for.
    staging
        Buffers of a rank.
    """

    old: Placement
    new: Placement
    rounds: tuple[Round, ...]
    staging: int

    @property
    def copies(self) -> int:
        """Copies in all."""
        return sum(len(part.copies) for part in self.rounds)

    def to_dict(self) -> dict[str, Any]:
        """Return what JSON shows; slots count over the ranks in order."""
        rank = self.new.rank_of_slot
        ids = self.new.layer_ids or tuple(range(self.new.num_layers))
        return {
            "schema": SCHEMA,
            "layers": self.new.num_layers,
            "staging": self.staging,
            "copies": self.copies,
            "rounds_in_all": len(self.rounds),
            "moved_GB": sum(part.nbytes for part in self.rounds) / 1e9,
            "seconds": sum(part.seconds for part in self.rounds),
            "rounds": [
                {
                    "round": number,
                    "layer": ids[part.layer],
                    "seconds": part.seconds,
                    "copies": [
                        {
                            "expert": copy.expert,
                            "from_rank": int(rank[copy.source]),
                            "from_slot": copy.source,
                            "to_rank": int(rank[copy.target]),
                            "to_slot": copy.target,
                            "staged": copy.staged,
                        }
                        for copy in part.copies
                    ],
                }
                for number, part in enumerate(self.rounds)
            ],
        }


def plan_migration(
    old: Placement,
    new: Placement,
    *,
    topology: Topology | None = None,
    expert_bytes: float = 0.0,
    staging: int = 1,
    per_rank: int | None = None,
) -> Schedule:
    """Order the copies between two placements.

    In every round a copy goes straight into a slot that is empty or whose expert has another
    replica, which alone serves it from the start of the round. Where no such slot is left, experts
    that wait for each other's slots are exchanged through buffers, a whole ring at a time, or two
    slots at a time where the ring visits a rank more often than it has buffers (which copies one
    expert more than needed). No expert is without a slot at any time, and no rank holds more than
    its slots and buffers.

    Parameters
    ----------
    old, new
        Of the same layers, experts, ranks and slots.
    topology
        Chooses the nearest source and gives times; None: any source, no times.
    expert_bytes
        Bytes of one expert of one layer.
    staging
        Buffers of a rank, each of the size of one expert.
    per_rank
        Most copies a rank receives, and most it sends, in a round; None for any number.

    Raises
    ------
    InputError
        If the placements do not belong together, or `new` lacks an expert that `old` has.
    InfeasibleError
        If experts wait for each other and there are no buffers.
    """
    _check(old, new, staging, per_rank)
    new = keep_slots(new, old)
    rank = new.rank_of_slot.astype(np.int64)
    near = np.zeros((new.num_ranks, new.num_ranks))
    if topology is not None:
        slowest, latency = route_costs(topology)
        near = slowest * max(expert_bytes, 1.0) + latency
    rounds: list[Round] = []
    table = new.expert_of_slot.copy()
    for layer in range(new.num_layers):
        work = _Layer(
            [int(e) for e in old.expert_of_slot[layer]],
            [int(e) for e in new.expert_of_slot[layer]],
            rank,
            near,
            staging,
            ANY if per_rank is None else per_rank,
        )
        while work.pending():
            copies = work.next_round()
            if not copies:
                raise InfeasibleError(
                    f"row {layer}: experts wait for each other's slots, which are all in use; "
                    "allow a buffer with staging=1 or keep a slot empty"
                )
            work.realign()
            rounds.append(_priced(layer, copies, rank, topology, expert_bytes))
        table[layer] = work.want
    return Schedule(old, new.replace(expert_of_slot=table), tuple(rounds), staging)


class _Layer:
    """One layer on its way: what lies in every slot, and what is to."""

    def __init__(
        self,
        have: list[int],
        want: list[int],
        rank: NDArray[np.int64],
        near: NDArray[np.float64],
        staging: int,
        per_rank: int,
    ) -> None:
        self.have, self.want, self.rank, self.near = have, want, rank, near
        self.staging, self.per_rank = staging, per_rank

    def pending(self) -> list[int]:
        return [
            slot
            for slot, expert in enumerate(self.want)
            if expert >= 0 and self.have[slot] != expert
        ]

    def realign(self) -> None:
        """Let an expert that came to the right rank stay in the slot it is in."""
        for slot in self.pending():
            wanted = self.want[slot]
            for other in np.flatnonzero(self.rank == self.rank[slot]).tolist():
                if self.have[other] == wanted and self.want[other] != wanted:
                    self.want[slot], self.want[other] = self.want[other], wanted
                    break

    def next_round(self) -> list[Copy]:
        """Choose copies of one round and make them."""
        self._during = Counter(e for e in self.have if e >= 0)  # slots serving, all round long
        self._after = Counter(self._during)  # slots serving once it has ended
        self._busy: set[int] = set()  # slots written, at once or at the end
        self._read: set[int] = set()  # sources
        self._silent: set[int] = set()  # slots written at once, no sources
        self._received: Counter[int] = Counter()
        self._sent: Counter[int] = Counter()
        self._staged: Counter[int] = Counter()
        copies = [copy for slot in self.pending() if (copy := self._straight(slot)) is not None]
        for slot in self.pending():
            if slot not in self._busy:
                copies += self._exchange(slot)
        for copy in copies:
            self.have[copy.target] = copy.expert
        return copies

    def _straight(self, slot: int) -> Copy | None:
        expert, out = self.want[slot], self.have[slot]
        if slot in self._read or (out >= 0 and min(self._during[out], self._after[out]) < 2):
            return None
        source = self._source(expert, slot)
        if source is None:
            return None
        if out >= 0:
            self._during[out] -= 1
            self._after[out] -= 1
        self._after[expert] += 1
        self._silent.add(slot)
        self._take(source, slot)
        return Copy(expert, source, slot, staged=False)

    def _exchange(self, slot: int) -> list[Copy]:
        ring = self._ring(slot)
        if ring is None or not self._fits(ring):
            out = self.have[slot]
            goal = next((s for s in self._waiting(out) if s not in self._busy), None)
            if goal is None or out < 0 or self.have[goal] < 0:
                return []
            ring = [(goal, out), (slot, self.have[goal])]
            if not self._fits(ring):
                return []
        copies: list[Copy] = []
        sent = self._sent.copy()
        for target, expert in ring:
            source = self._source(expert, target)
            if source is None:
                self._sent = sent
                return []
            self._sent[int(self.rank[source])] += 1
            copies.append(Copy(expert, source, target, staged=True))
        self._sent = sent
        for copy in copies:
            if self.have[copy.target] >= 0:
                self._after[self.have[copy.target]] -= 1
            self._after[copy.expert] += 1
            self._staged[int(self.rank[copy.target])] += 1
            self._take(copy.source, copy.target)
        return copies

    def _ring(self, slot: int) -> list[tuple[int, int]] | None:
        """Return (slot, expert) to be written together so that nobody is left without a slot."""
        ring, inside = [(slot, self.want[slot])], {slot}
        while True:
            out = self.have[ring[-1][0]]
            leaving = sum(self.have[s] == out for s in inside)
            coming = sum(expert == out for _, expert in ring)
            if out < 0 or self._after[out] - leaving + coming >= 1:
                return ring
            following = next((s for s in self._waiting(out) if s not in inside | self._busy), None)
            if following is None:
                return None
            ring.append((following, out))
            inside.add(following)

    def _waiting(self, expert: int) -> list[int]:
        """Return slots that are to hold an expert and do not yet."""
        return [s for s, e in enumerate(self.want) if e == expert and self.have[s] != e]

    def _fits(self, ring: Iterable[tuple[int, int]]) -> bool:
        ring = list(ring)
        here = Counter(int(self.rank[target]) for target, _ in ring)
        if any(target in self._busy for target, _ in ring):
            return False
        return all(
            self._staged[r] + n <= self.staging and self._received[r] + n <= self.per_rank
            for r, n in here.items()
        )

    def _source(self, expert: int, target: int) -> int | None:
        """Return the nearest slot to read from, of equally near ones the least busy rank's."""
        to = int(self.rank[target])
        if self._received[to] >= self.per_rank:
            return None
        slots = [
            slot
            for slot, held in enumerate(self.have)
            if held == expert
            and slot not in self._silent
            and self._sent[int(self.rank[slot])] < self.per_rank
        ]
        if not slots:
            return None
        return min(
            slots, key=lambda s: (self.near[self.rank[s], to], self._sent[int(self.rank[s])], s)
        )

    def _take(self, source: int, target: int) -> None:
        self._busy.add(target)
        self._read.add(source)
        self._sent[int(self.rank[source])] += 1
        self._received[int(self.rank[target])] += 1


def check_schedule(schedule: Schedule) -> None:
    """Go through a schedule as an engine would, and refuse it if anything is ever missing.

    Raises
    ------
    CheckFailedError
        If a source does not hold the expert, a slot is written twice, an expert in use is without a
        slot, a rank needs more buffers than it has, or the end is not the new placement.
    """
    old, new = schedule.old, schedule.new
    rank = new.rank_of_slot
    table = np.array(old.expert_of_slot)
    for number, part in enumerate(schedule.rounds):
        row = table[part.layer]
        where = f"round {number}, row {part.layer}"
        present = {int(e) for e in row if e >= 0}
        written = [copy.target for copy in part.copies]
        if len(set(written)) < len(written):
            raise CheckFailedError(f"{where}: a slot is written twice")
        serving = row.copy()
        serving[[copy.target for copy in part.copies if not copy.staged]] = -1
        staged = Counter(int(rank[copy.target]) for copy in part.copies if copy.staged)
        if staged and max(staged.values()) > schedule.staging:
            raise CheckFailedError(f"{where}: more than {schedule.staging} buffers of a rank")
        for copy in part.copies:
            if serving[copy.source] != copy.expert:
                raise CheckFailedError(f"{where}: slot {copy.source} has no expert {copy.expert}")
        for copy in part.copies:
            row[copy.target] = copy.expert
        for state in (serving, row):
            if missing := present - {int(e) for e in state}:
                raise CheckFailedError(f"{where}: expert {min(missing)} has no slot")
    done = np.where(new.expert_of_slot >= 0, table, -1)
    if not np.array_equal(done, new.expert_of_slot):
        raise CheckFailedError("the schedule does not end in the new placement")


def _priced(
    layer: int,
    copies: list[Copy],
    rank: NDArray[np.int64],
    topology: Topology | None,
    expert_bytes: float,
) -> Round:
    moved = [(int(rank[c.source]), int(rank[c.target])) for c in copies]
    between = [(a, b) for a, b in moved if a != b]
    nbytes = expert_bytes * len(between)
    if topology is None or not between:
        return Round(layer, tuple(copies), 0.0, nbytes)
    on_link = np.zeros(topology.num_links)
    latency = 0.0
    for source, target in between:
        route = topology.route(source, target)
        on_link[route] += expert_bytes
        latency = max(latency, float(topology.latency_s[route].sum()))
    seconds = float((on_link / topology.bandwidth_Bps).max()) + latency
    return Round(layer, tuple(copies), seconds, nbytes)


def _check(old: Placement, new: Placement, staging: int, per_rank: int | None) -> None:
    same = old.expert_of_slot.shape == new.expert_of_slot.shape
    if not same or not np.array_equal(old.rank_of_slot, new.rank_of_slot):
        raise InputError(
            f"the placements have {old.expert_of_slot.shape} and {new.expert_of_slot.shape} "
            "(layers, slots), or other slots on a rank; plan between maps of the same slots"
        )
    if old.num_experts != new.num_experts or old.num_ranks != new.num_ranks:
        raise InputError("the placements have different experts or ranks")
    if None not in (old.layer_ids, new.layer_ids) and old.layer_ids != new.layer_ids:
        raise InputError("the placements are of different layers")
    if staging < 0 or (per_rank is not None and per_rank < 1):
        raise InputError("staging is at least 0, per_rank at least 1")
    lost = (old.replica_count > 0) & (new.replica_count == 0)
    absent = (old.replica_count == 0) & (new.replica_count > 0)
    for table, text in ((lost, "the new placement lacks"), (absent, "the old placement lacks")):
        if table.any():
            layer, expert = np.argwhere(table)[0]
            raise InputError(f"{text} expert {expert} in row {layer}")
