"""Strategies side by side on one wafer, one batch and one model."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from moeplace.errors import UsageError, unknown_name
from moeplace.hwmodels import load_system
from moeplace.models import load_model
from moeplace.replay.wafer.bound import layer_bound_s
from moeplace.replay.wafer.demand import demand_from_trace, generated_demand
from moeplace.replay.wafer.machine import make_machine
from moeplace.replay.wafer.residence import room_for_copies
from moeplace.replay.wafer.simulator import run_layer
from moeplace.replay.wafer.strategies import Published
from moeplace.replay.wafer.strategy_moeplace import Static

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from moeplace.hwmodels import System
    from moeplace.models import ModelSpec
    from moeplace.replay.wafer.constants import Constants
    from moeplace.replay.wafer.demand import Demand
    from moeplace.replay.wafer.machine import Machine
    from moeplace.replay.wafer.strategies import Strategy
    from moeplace.traces import RoutingTrace

STRATEGIES = ("base", "ep", "pred", "allo", "allo+pred", "moeplace")
PUBLISHED = {
    "base": ("base", False),
    "ep": ("home", False),
    "pred": ("base", True),
    "allo": ("greedy", False),
    "allo+pred": ("greedy", True),
}


@dataclass(frozen=True)
class WaferRow:
    """One strategy's totals over all steps and layers.

    Attributes
    ----------
    strategy
        Which.
    throughput_tokens_per_s
        Batch times steps over the seconds in the simulated MoE layers.
    seconds
        Those seconds.
    hops
        Links on the way of requests for weights to other dies.
    hbm_bytes
        Read from and written to HBM.
    d2d_bytes
        Weights that dies received from others.
    link_bytes
        Weights times mesh edges held.
    speedup
        Throughput over that of `base`, None without it.
    of_bound
        Lower bound over seconds: 1 is as good as can be.
    copies
        Experts held beside the first of each layer, at the end.
    evicted
        Copies that had to go.
    balancedness
        Requests of the mean die over those of the fullest, mean over layers and steps.
    """

    strategy: str
    throughput_tokens_per_s: float
    seconds: float
    hops: int
    hbm_bytes: float
    d2d_bytes: float
    link_bytes: float
    speedup: float | None
    of_bound: float
    copies: int
    evicted: int
    balancedness: float


@dataclass(frozen=True)
class WaferReport:
    """Strategies on one wafer.

    Attributes
    ----------
    model, system, batch, layers, steps, seed, weight_dtype
        What was asked.
    workload, kind
        Where the routing comes from; ``measured`` or ``synthetic``.
    capacity
        ``enforced``, ``ignored`` (asked for), or ``does not fit``: the experts alone exceed HBM,
        so that it was not enforced.
    needed_GB, usable_GB
        HBM that the fullest die's own experts need over all layers, and what it has.
    bound_tokens_per_s
        No strategy is faster in this model of the wafer.
    rows
        One per strategy.
    """

    model: str
    system: str
    batch: int
    layers: int
    steps: int
    seed: int
    weight_dtype: str
    workload: str
    kind: str
    capacity: str
    needed_GB: float
    usable_GB: float
    bound_tokens_per_s: float
    rows: tuple[WaferRow, ...] = field(default=())

    @property
    def fits(self) -> bool:
        """Whether the experts alone fit into HBM."""
        return self.needed_GB <= self.usable_GB

    def row(self, strategy: str) -> WaferRow:
        """Return the row of a strategy."""
        return next(row for row in self.rows if row.strategy == strategy)

    def to_dict(self) -> dict[str, Any]:
        """Return the document ``moeplace.wafer/1``."""
        return {
            "schema": "moeplace.wafer/1",
            **asdict(self),
            "fits": self.fits,
            "rows": [asdict(r) for r in self.rows],
        }


def wafer_study(
    model: ModelSpec | str,
    system: System | str = "wafer",
    *,
    batch: int = 4096,
    layers: int = 4,
    steps: int = 8,
    trace: RoutingTrace | None = None,
    strategies: Sequence[str] = STRATEGIES,
    seed: int = 0,
    weight_dtype: str = "bf16",
    enforce_capacity: bool = True,
    multicast: bool = False,
    constants: Constants | None = None,
    progress: Callable[[str], None] | None = None,
) -> WaferReport:
    """Run strategies of the wafer as one GPU on the same batch.

    Weights move between dies, requests do not; every layer ends when its last die is done. Only
    routed experts in decode count: no attention, no shared experts.

    Parameters
    ----------
    model, system
        Names or specifications; the system is a mesh.
    batch
        Requests decoded together.
    layers, steps
        The first so many MoE layers, and decode steps.
    trace
        Routing; default: synthetic, like that of the model.
    strategies
        Some of `STRATEGIES`.
    seed
        Seed of the synthetic trace, or of the choice of its half that is history.
    weight_dtype
        Type of the weights; the paper has 2 bytes.
    enforce_capacity
        Whether copies have to fit into HBM; where the experts alone do not fit it is not enforced.
    multicast
        Whether dies that wait for the same slice are answered along one tree of XY routes.
    constants
        Of the die model; default: the shipped ones.
    progress
        Told what is being run.

    Raises
    ------
    MoeplaceError
        If a name is unknown, a number is out of range or the trace does not fit the model.
    """
    spec = load_model(model) if isinstance(model, str) else model
    wafer = load_system(system) if isinstance(system, str) else system
    for name in strategies:
        if name not in STRATEGIES:
            raise unknown_name("strategy", name, STRATEGIES, "moeplace wafer --help")
    if min(batch, layers, steps) < 1:
        raise UsageError("batch, layers and steps must be at least 1")
    layers = min(layers, spec.num_moe_layers)
    machine = make_machine(spec, wafer, batch, weight_dtype=weight_dtype, constants=constants)
    tell = progress or (lambda text: None)
    tell("routing")
    demand = _demand(spec, trace, batch, layers, steps, seed)
    layers = demand.num_layers
    fits = bool(room_for_copies(machine, machine.num_layers, machine.home()).min() >= 0)
    capacity = "ignored" if not enforce_capacity else "enforced" if fits else "does not fit"
    enforced = capacity == "enforced"
    bound = demand_bound_s(machine, demand)
    rows: list[WaferRow] = []
    for name in strategies:
        tell(name)
        decides = make_strategy(name, machine, demand, enforce_capacity=enforced)
        rows.append(run_strategy(name, decides, machine, demand, multicast=multicast))
    base = next((row.seconds for row in rows if row.strategy == "base"), None)
    if base is not None:
        rows = [replace(row, speedup=base / row.seconds) for row in rows]
    most = int(np.bincount(machine.home()).max())
    return WaferReport(
        model=spec.name,
        system=wafer.name,
        batch=batch,
        layers=layers,
        steps=steps,
        seed=seed,
        weight_dtype=weight_dtype,
        workload=demand.name,
        kind=demand.kind,
        capacity=capacity,
        needed_GB=most * machine.num_layers * machine.expert_bytes / 1e9,
        usable_GB=machine.usable_bytes / 1e9,
        bound_tokens_per_s=batch * steps / bound,
        rows=tuple(rows),
    )


def _demand(
    spec: ModelSpec, trace: RoutingTrace | None, batch: int, layers: int, steps: int, seed: int
) -> Demand:
    from moeplace.errors import InputError

    if trace is None:
        return generated_demand(spec, batch, layers=layers, steps=steps, seed=seed)
    if trace.num_experts != spec.num_experts or trace.top_k != spec.top_k:
        raise InputError(
            f"trace {trace.name!r} is of top-{trace.top_k} of {trace.num_experts} experts, "
            f"model {spec.name} of top-{spec.top_k} of {spec.num_experts}; give the trace's model"
        )
    return demand_from_trace(trace, batch, layers=layers, steps=steps, seed=seed)


def make_strategy(
    name: str,
    machine: Machine,
    demand: Demand,
    *,
    enforce_capacity: bool = True,
) -> Strategy:
    """Return one of `STRATEGIES`, ready for the first step.

    Parameters
    ----------
    name
        Which.
    machine, demand
        Wafer and batch.
    enforce_capacity
        Whether copies have to fit into HBM.

    Raises
    ------
    InputError
        If there is none of this name.
    """
    if name not in STRATEGIES:
        raise unknown_name("strategy", name, STRATEGIES, "moeplace wafer --help")
    if name == "moeplace":
        return Static(machine, demand, enforce_capacity=enforce_capacity)
    allocate, predict = PUBLISHED[name]
    return Published(
        machine, demand, allocate=allocate, predict=predict, enforce_capacity=enforce_capacity
    )


def demand_bound_s(machine: Machine, demand: Demand) -> float:
    """Return seconds that all layers and steps of a batch take at least."""
    return sum(
        layer_bound_s(machine, demand.counts(step, layer))
        for step in range(demand.steps)
        for layer in range(demand.num_layers)
    )


def run_strategy(
    name: str, strategy: Strategy, machine: Machine, demand: Demand, *, multicast: bool = False
) -> WaferRow:
    """Simulate all steps and layers under one strategy; there is no `speedup` yet.

    Parameters
    ----------
    name
        What to call the row.
    strategy
        Fresh from `make_strategy`.
    machine, demand
        Wafer and batch it was made for.
    multicast
        Whether dies that wait for the same slice are answered along one tree of XY routes.
    """
    seconds = hbm = d2d = link = balanced = 0.0
    hops = 0
    for step in range(demand.steps):
        for layer in range(demand.num_layers):
            tasks = strategy.plan(step, layer)
            run = run_layer(machine, replace(tasks, multicast=multicast))
            seconds += run.seconds
            hops += run.hops
            hbm += run.hbm_read_bytes + run.hbm_write_bytes
            d2d += run.d2d_bytes
            link += run.link_bytes
            load = np.bincount(tasks.die, weights=tasks.tokens, minlength=machine.num_dies)
            balanced += float(load.mean() / load.max())
    residence = strategy.residence
    return WaferRow(
        strategy=name,
        throughput_tokens_per_s=demand.batch * demand.steps / seconds,
        seconds=seconds,
        hops=hops,
        hbm_bytes=hbm,
        d2d_bytes=d2d,
        link_bytes=link,
        speedup=None,
        of_bound=demand_bound_s(machine, demand) / seconds,
        copies=int(residence.present.sum()) - demand.num_layers * machine.num_experts,
        evicted=residence.evicted,
        balancedness=balanced / (demand.steps * demand.num_layers),
    )
