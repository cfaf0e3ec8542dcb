"""moeplace on the wafer: replicas placed beforehand, requests split among them step by step."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from moeplace.errors import UsageError
from moeplace.replay.wafer.residence import UNLIMITED, Residence
from moeplace.replay.wafer.simulator import Tasks, run_layer
from moeplace.replay.wafer.static_placement import DISTANCE, place_experts
from moeplace.replay.wafer.strategies import tasks_of

if TYPE_CHECKING:
    from collections.abc import Collection

    from numpy.typing import NDArray

    from moeplace.replay.wafer.demand import Demand
    from moeplace.replay.wafer.machine import Machine

ASPECTS = ("replicas", "popularity", "coactivation", "topology", "splitting", "order")
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
        Whether replicas have to fit into HBM. If not, there is room for each expert twice at
        least.
    without
        Some of `ASPECTS` to leave out, for ablations: no replicas beyond one place each; replicas
        regardless of popularity; co-activation or distance not minded; requests of an expert
        divided evenly over its places instead of by the time of dies; a die's tasks one after the
        other instead of alternating.

    Raises
    ------
    UsageError
        If an aspect is unknown.
    """

    def __init__(
        self,
        machine: Machine,
        demand: Demand,
        *,
        enforce_capacity: bool = True,
        without: Collection[str] = (),
    ) -> None:
        for aspect in without:
            if aspect not in ASPECTS:
                raise UsageError(f"no aspect {aspect!r} to leave out; use {', '.join(ASPECTS)}")
        dies, experts = machine.num_dies, machine.num_experts
        slots = machine.copies_per_die
        if not enforce_capacity:
            slots = max(slots, -(-2 * experts // dies))
        if "replicas" in without:
            slots = 0
        slots = min(max(slots, -(-experts // dies)), experts)
        self.machine = machine
        self.demand = demand
        self.split = "splitting" not in without
        self.alternate = "order" not in without
        home = machine.home()
        self.residence = Residence(machine, home, demand.num_layers, np.full(dies, UNLIMITED))
        requests = float(demand.batch * demand.decode.shape[2])
        for layer in range(demand.num_layers):
            share = demand.history_share(layer)
            related = demand.history_coactivation(layer)
            if "popularity" in without:
                share = np.full(experts, 1 / experts)
            if "coactivation" in without:
                related = np.zeros_like(related)
            self.residence.present[layer] = place_experts(
                machine, share, related, requests, slots,
                distance=0.0 if "topology" in without else DISTANCE,
            )  # fmt: skip

    def plan(self, step: int, layer: int) -> Tasks:
        """Return the tasks of a layer: with single slices from other dies if that is faster."""
        from moeplace.replay.wafer.assignment_kernels import assign_requests, spread_reads

        machine = self.machine
        slices = machine.constants.slices
        present = self.residence.present[layer]
        given = np.zeros((machine.num_dies, machine.num_experts), np.int64)
        if not self.split:
            return self._ordered(
                tasks_of(self._even(step, layer), self.residence.nearest(layer), slices)
            )
        assign_requests(
            self.demand.counts(step, layer), present, machine.compute_s, machine.hbm_slice_s,
            slices, machine.constants.slices_in_flight, ROUNDS, given,
        )  # fmt: skip
        local = self._ordered(tasks_of(given.T, self.residence.nearest(layer), slices))
        source = local.source.copy()
        spread_reads(
            local.expert, present, machine.hops, local.die, FARTHEST_READ,
            self._bearable(local), source,
        )  # fmt: skip
        spread = replace(local, source=source)
        if run_layer(machine, spread).seconds < run_layer(machine, local).seconds:
            return spread
        return local

    def _even(self, step: int, layer: int) -> NDArray[np.int64]:
        """Return (experts, dies) every expert's requests over its places, one apart at most."""
        present = self.residence.present[layer]
        counts = self.demand.counts(step, layer)[:, None]
        places = present.sum(axis=1, keepdims=True)
        turn = np.cumsum(present, axis=1) - 1
        return np.where(present, counts // places + (turn < counts % places), 0)

    def _ordered(self, tasks: Tasks) -> Tasks:
        from moeplace.replay.wafer.assignment_kernels import order_all

        machine = self.machine
        order = order_all(
            tasks.die,
            machine.compute_s[tasks.tokens],
            machine.hbm_slice_s,
            machine.constants.slices,
            machine.num_dies,
        )
        return replace(tasks, order=order if self.alternate else None)

    def _bearable(self, tasks: Tasks) -> NDArray[np.int64]:
        """Return (dies,) reads that no HBM is too busy with: the longest products cover them."""
        machine = self.machine
        product_s = machine.compute_s[tasks.tokens] * machine.constants.slices
        spent = np.bincount(tasks.die, weights=product_s, minlength=machine.num_dies)
        covered = int(spent.max() / machine.hbm_slice_s)
        fair = -(-tasks.source.size // machine.num_dies)
        return np.full(machine.num_dies, max(fair, covered))
