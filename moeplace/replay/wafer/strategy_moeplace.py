"""moeplace on the wafer: replicas placed beforehand, requests split among them step by step."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from moeplace.replay.wafer.residence import UNLIMITED, Residence
from moeplace.replay.wafer.simulator import Tasks
from moeplace.replay.wafer.static_placement import place_experts
from moeplace.replay.wafer.strategies import tasks_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from moeplace.replay.wafer.demand import Demand
    from moeplace.replay.wafer.machine import Machine

ROUNDS = 2000
FARTHEST_READ = 4  # hops


class Static:
    """A fixed placement with replicas, fitted to other requests of the same model.

    At every step requests are split among the dies that hold an expert; where HBMs are unequally
    busy, single slices are read from another die that holds them. Nothing is copied on the way.

    Parameters
    ----------
    machine
        The wafer.
    demand
        The batch; its history is what the placement is fitted to.
    enforce_capacity
        Whether replicas have to fit into HBM. If not, every die has as many slots as it would
        have with the smallest number that holds each expert twice.
    multicast
        Whether several dies that wait for a slice are answered along one tree.
    """

    def __init__(
        self,
        machine: Machine,
        demand: Demand,
        *,
        enforce_capacity: bool = True,
        multicast: bool = False,
    ) -> None:
        dies, experts = machine.num_dies, machine.num_experts
        slots = machine.copies_per_die if enforce_capacity else -(-2 * experts // dies)
        self.machine = machine
        self.demand = demand
        self.multicast = multicast
        home = machine.home()
        self.residence = Residence(machine, home, demand.num_layers, np.full(dies, UNLIMITED))
        requests = float(demand.batch * demand.decode.shape[2])
        for layer in range(demand.num_layers):
            self.residence.present[layer] = place_experts(
                machine,
                demand.history_share(layer),
                demand.history_coactivation(layer),
                requests,
                min(slots, experts),
            )

    def plan(self, step: int, layer: int) -> Tasks:
        """Return the tasks of a layer."""
        from moeplace.replay.wafer.assignment_kernels import (
            assign_requests,
            interleave,
            spread_reads,
        )

        machine = self.machine
        slices = machine.constants.slices
        present = self.residence.present[layer]
        given = np.zeros(present.shape, np.int64)
        product_s = machine.compute_s * slices
        read_s = machine.hbm_slice_s * slices
        assign_requests(self.demand.counts(step, layer), present, product_s, read_s, ROUNDS, given)
        tasks = tasks_of(given, self.residence.nearest(layer), slices)
        spread_reads(
            tasks.expert, present, machine.hops, tasks.die, FARTHEST_READ,
            self._bearable(tasks, product_s), tasks.source,
        )  # fmt: skip
        order = np.zeros(tasks.die.size, np.int64)
        interleave(tasks.die, product_s[tasks.tokens], read_s, machine.num_dies, order)
        return Tasks(
            die=tasks.die[order],
            expert=tasks.expert[order],
            tokens=tasks.tokens[order],
            source=tasks.source[order],
            keep=tasks.keep,
            multicast=self.multicast,
        )

    def _bearable(self, tasks: Tasks, product_s: NDArray[np.float64]) -> NDArray[np.int64]:
        """Return (dies,) reads that no HBM is too busy with: the longest products cover them."""
        machine = self.machine
        spent = np.bincount(tasks.die, weights=product_s[tasks.tokens], minlength=machine.num_dies)
        covered = int(spent.max() / machine.hbm_slice_s)
        fair = -(-tasks.source.size // machine.num_dies)
        return np.full(machine.num_dies, max(fair, covered))
