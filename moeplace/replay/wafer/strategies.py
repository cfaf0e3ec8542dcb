"""The strategies of arXiv 2510.05497: who computes what, and which copies are kept."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import numpy as np

from moeplace.replay.wafer.predictor import HeatMap
from moeplace.replay.wafer.residence import UNLIMITED, Residence, room_for_copies
from moeplace.replay.wafer.simulator import Tasks

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from moeplace.replay.wafer.demand import Demand
    from moeplace.replay.wafer.machine import Machine


class Strategy(Protocol):
    """Decides on one layer of one step after the other, in order.

    Its tasks compute every request exactly once, and read weights only from dies that hold them.

    Attributes
    ----------
    residence
        Who holds what.
    """

    residence: Residence

    def plan(self, step: int, layer: int) -> Tasks:
        """Return the tasks of a layer."""
        ...


def tasks_of(
    given: NDArray[np.int64],
    nearest: NDArray[np.int64],
    slices: int,
) -> Tasks:
    """Return one task for every expert and die with requests, experts in order.

    Parameters
    ----------
    given
        (experts, dies) requests.
    nearest
        (experts, dies) where each die reads an expert from.
    slices
        Slices of an expert.
    """
    expert, die = np.nonzero(given)
    source = nearest[expert, die]
    return Tasks(
        die=die,
        expert=expert,
        tokens=given[expert, die],
        source=np.repeat(source[:, None], slices, axis=1),
        keep=np.zeros(die.size, bool),
    )


class Published:
    """Base, EP, Pred, Allo and Allo+Pred.

    Parameters
    ----------
    machine
        The wafer.
    demand
        The batch.
    allocate
        ``base``: expert e on die (e + 7) mod dies; ``home``: on its own die; ``greedy``:
        Algorithm 1.
    predict
        Whether experts that are read from another die and predicted for the next token are kept.
    enforce_capacity
        Whether copies have to fit into HBM beside the homes.
    """

    def __init__(
        self,
        machine: Machine,
        demand: Demand,
        *,
        allocate: str,
        predict: bool,
        enforce_capacity: bool = True,
    ) -> None:
        home = machine.home()
        room = np.full(machine.num_dies, UNLIMITED)
        if enforce_capacity:
            room = room_for_copies(machine, demand.num_layers, home)
        self.machine = machine
        self.demand = demand
        self.allocate = allocate
        self.residence = Residence(machine, home, demand.num_layers, room)
        share = machine.constants.predicted_share
        self.heat = HeatMap(demand, share) if predict else None

    def plan(self, step: int, layer: int) -> Tasks:
        """Return the tasks of a layer, and enter the copies it makes."""
        machine, residence = self.machine, self.residence
        nearest = residence.nearest(layer)
        given = self._given(self.demand.counts(step, layer), layer, nearest)
        tasks = tasks_of(given, nearest, machine.constants.slices)
        residence.touch(layer, step, tasks.expert, tasks.die)
        if self.heat is None:
            return tasks
        self.heat.observe(step, layer)
        predicted = self.heat.predicted(layer, tasks.die, tasks.expert, machine.num_dies)
        wanted = predicted[tasks.die, tasks.expert] & (tasks.source[:, 0] != tasks.die)
        for t in np.flatnonzero(wanted):
            tasks.keep[t] = residence.admit(layer, step, int(tasks.expert[t]), int(tasks.die[t]))
        return tasks

    def _given(
        self, counts: NDArray[np.int64], layer: int, nearest: NDArray[np.int64]
    ) -> NDArray[np.int64]:
        """Return (experts, dies) requests."""
        machine = self.machine
        given = np.zeros((machine.num_experts, machine.num_dies), np.int64)
        experts = np.arange(machine.num_experts)
        if self.allocate == "greedy":
            from moeplace.replay.wafer.allocation_kernels import allocate_greedily

            found = machine.constants
            allocate_greedily(
                counts, self.residence.present[layer], nearest, machine.hops,
                machine.compute_s * found.slices,
                machine.hbm_slice_s * found.slices, machine.link_slice_s * found.slices,
                machine.hop_s, found.block_requests, found.min_candidates,
                max(float(counts.mean()), float(found.split_requests)), given,
            )  # fmt: skip
        elif self.allocate == "home":
            given[experts, self.residence.home] = counts
        else:
            given[experts, (experts + machine.constants.base_offset) % machine.num_dies] = counts
        return given
