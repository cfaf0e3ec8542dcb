from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from moeplace.errors import InputError
from moeplace.hwmodels.communication import DEDUP_MODES
from moeplace.models import DTYPE_BYTES
from moeplace.placement.capacity import check_capacity, whole
from moeplace.placement.dispatch import DISPATCH_POLICIES
from moeplace.placement.groups import check_groups
from moeplace.placement.knowledge import check_stay, ready
from moeplace.traces import Workload

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from moeplace.hwmodels import CommPlan, System
    from moeplace.models import ModelSpec
    from moeplace.placement.placement import Placement

OBJECTIVES = ("time", "balance", "copies", "hops")
PHASES = ("prefill", "decode")
EXECUTIONS = ("return", "stay")
DEFAULT_TOKENS_PER_RANK = {"prefill": 4096, "decode": 128}


@dataclass(frozen=True, eq=False)
class Problem:
    """One instance: what is placed, where it can go, how it is used, what counts.

    Made by :func:`make_problem`, which checks that the parts fit together.

    Attributes
    ----------
    workload
        Loads of the problem's phase, bound to the model, with token sets where the kernel
        de-duplicates.
    redundant
        At most ``num_experts + redundant`` replicas in a layer.
    slots_per_rank
        Slots on every rank; some may stay empty.
    dedup_choice
        The dedup mode asked for, None for the system's default of the phase.
    phase_workloads
        Workloads of other phases, used by :meth:`at_phase`.
    holdout
        Workload that is reported on and never optimized on.
    current
        Placement in use; replicas on a rank that does not hold the expert there must be moved.
    max_moves
        Most replicas moved in a layer, None for any number.
    move_price_us_per_GB
        What moving 1e9 bytes adds to objective ``time``, in microseconds of a step.
    max_load
        Most that the fullest rank of a layer may serve, in mean rank loads of the workload fitted
        on, None for any; see :mod:`moeplace.placement.load_cap`.
    groups_on_nodes
        Whether all experts of a router's group must lie on one node.
    scenarios, risk, tail
        Problems that share the placement and how their objectives become one, see
        :func:`~moeplace.placement.robust.make_robust`; empty for a single workload.
    execution
        ``return``: tokens go home after every layer. ``stay``: they stay with their main expert,
        see :mod:`moeplace.placement.stay`.
    """

    model: ModelSpec
    system: System
    workload: Workload
    redundant: int
    slots_per_rank: int
    objective: str
    dispatch: str
    phase: str
    tokens_per_rank: int
    dedup_choice: str | None = None
    weight_dtype: str = "bf16"
    phase_workloads: Mapping[str, Workload] = field(default_factory=dict)
    holdout: Workload | None = None
    holdout_by: str = ""
    holdout_fraction: float = 0.0
    current: Placement | None = None
    max_moves: int | None = None
    move_price_us_per_GB: float = 0.0
    max_load: float | None = None
    groups_on_nodes: bool = False
    scenarios: tuple[Problem, ...] = ()
    risk: str = "max"
    tail: float = 0.5
    execution: str = "return"

    @property
    def num_layers(self) -> int:
        """MoE layers of the workload."""
        return self.workload.num_layers

    @property
    def num_experts(self) -> int:
        """Routed experts E of a layer."""
        return self.model.num_experts

    @property
    def num_ranks(self) -> int:
        """Devices R."""
        return self.system.ranks

    @property
    def top_k(self) -> int:
        """Experts per token."""
        return self.model.top_k

    @property
    def num_slots(self) -> int:
        """Slots of a layer, over all ranks."""
        return self.slots_per_rank * self.num_ranks

    @property
    def max_replicas(self) -> int:
        """Most replicas of a layer: experts + redundant."""
        return self.num_experts + self.redundant

    @property
    def tokens(self) -> int:
        """Tokens T of a step over all ranks."""
        return self.tokens_per_rank * self.num_ranks

    @property
    def dedup(self) -> str:
        """Copies the kernel makes in this phase."""
        return self.dedup_choice or self.system.default_dedup(self.phase)

    @property
    def plan(self) -> CommPlan:
        """Messages of a step on this system."""
        return self.system.plan(self.dedup)

    @property
    def compute_constants(self) -> tuple[float, float, float]:
        """a, b, β of the expert kernel in seconds (DESIGN §5)."""
        return self.system.compute_constants(self.model, self.phase, self.weight_dtype)

    @property
    def expert_bytes(self) -> float:
        """Bytes of one expert of one layer."""
        return self.model.expert_params * DTYPE_BYTES[self.weight_dtype]

    @cached_property
    def load_share(self) -> NDArray[np.float64]:
        """(layers, experts) q_e: the expert's share of all (token, expert) pairs."""
        total = self.workload.load.sum(axis=1, keepdims=True)
        share: NDArray[np.float64] = np.divide(
            self.workload.load, total, out=np.zeros_like(self.workload.load), where=total > 0
        )
        return share

    @property
    def move_price_s(self) -> float:
        """What one moved replica adds to objective ``time``, in seconds."""
        return self.move_price_us_per_GB * 1e-6 * self.expert_bytes * 1e-9

    @property
    def rank_of_slot(self) -> NDArray[np.int32]:
        """(slots,) rank of each slot."""
        return np.repeat(np.arange(self.num_ranks, dtype=np.int32), self.slots_per_rank)

    @property
    def is_synthetic(self) -> bool:
        """Whether anything the score depends on was generated rather than measured."""
        needed = self.dedup != "none" or self.dispatch == "cover"
        sets = needed and self.workload.token_sets_kind == "synthetic"
        return sets or self.workload.kind == "synthetic"

    def replace(self, **changes: Any) -> Problem:
        """Return a copy with some attributes changed, parts already checked."""
        return replace(self, **changes)

    def with_workload(self, workload: Workload) -> Problem:
        """Return the same problem under another workload of the same model and layers."""
        bound = ready(workload.bind(self.model), self.model, self.dedup, self.dispatch)
        if bound.layer_ids != self.workload.layer_ids:
            raise InputError(
                f"workload {bound.name!r} has layers {_span(bound.layer_ids)}, "
                f"{self.workload.name!r} has {_span(self.workload.layer_ids)}; use the same layers"
            )
        if self.execution == "stay":
            check_stay(bound, self.dispatch)
        return self.replace(workload=bound, holdout=None, scenarios=())

    def with_redundancy(self, redundant: int) -> Problem:
        """Return the same problem with another redundancy and as few slots as hold it.

        Raises
        ------
        InfeasibleError
            If that does not fit.
        """
        slots = check_capacity(self.model, self.system, redundant, None, self.weight_dtype)
        return self.replace(
            redundant=redundant,
            slots_per_rank=slots,
            scenarios=tuple(
                scenario.replace(redundant=redundant, slots_per_rank=slots)
                for scenario in self.scenarios
            ),
        )

    def at_phase(self, phase: str) -> Problem:
        """Return the same problem in a phase with its default batch and its workload, if known."""
        _check_phase(phase)
        if phase == self.phase:
            return self
        for scenario in self.scenarios:
            if scenario.phase == phase:
                return scenario
        other = self.replace(
            phase=phase,
            system=self.system.for_phase(phase),
            tokens_per_rank=DEFAULT_TOKENS_PER_RANK[phase],
            holdout=None,
        )
        workload = self.phase_workloads.get(phase, self.workload)
        if self.execution == "stay" and workload.anchored is None:
            workload = self.workload
        return other.with_workload(workload)

    @cached_property
    def fingerprint(self) -> str:
        """Return the sha256 of everything the score depends on."""
        parts = {
            "scenarios": [scenario.fingerprint for scenario in self.scenarios],
            "risk": [self.risk, self.tail] if self.scenarios else None,
            "model": _without(asdict(self.model), "source"),
            "system": _without(asdict(self.system), "sources", "summary"),
            "workload": self.workload.fingerprint(anchored=self.execution == "stay"),
            "scalars": [
                self.redundant,
                self.slots_per_rank,
                self.objective,
                self.dispatch,
                self.phase,
                self.tokens_per_rank,
                self.dedup,
                self.weight_dtype,
                self.max_moves,
                self.move_price_us_per_GB,
            ],
            **({} if self.max_load is None else {"max_load": self.max_load}),
            **({"groups_on_nodes": True} if self.groups_on_nodes else {}),
            "current": None
            if self.current is None
            else [self.current.expert_of_slot.tolist(), self.current.rank_of_slot.tolist()],
        }
        text = json.dumps(parts, sort_keys=True, default=str)
        return hashlib.sha256(text.encode()).hexdigest()


def make_problem(
    model: ModelSpec,
    system: System,
    workload: Workload | Mapping[str, Workload],
    redundant: int = 0,
    objective: str = "time",
    dedup: str | None = None,
    dispatch: str = "even",
    phase: str | None = None,
    tokens_per_rank: int | None = None,
    slots_per_rank: int | None = None,
    *,
    holdout: Workload | None = None,
    holdout_by: str = "",
    holdout_fraction: float = 0.0,
    weight_dtype: str | None = None,
    current: Placement | None = None,
    max_moves: int | None = None,
    move_price_us_per_GB: float = 0.0,
    max_load: float | None = None,
    groups_on_nodes: bool = False,
    execution: str = "return",
) -> Problem:
    """Put model, system and workload together and check that a placement can exist.

    Parameters
    ----------
    model, system
        From :func:`moeplace.load_model` and :func:`moeplace.load_system`.
    workload
        One workload, or one by phase.
    redundant
        Upper limit N on replicas beyond the first, per layer.
    objective
        ``time`` (seconds), ``balance`` (pairs on the fullest rank), ``copies``, ``hops``; each
        summed over layers, lower is better.
    dedup
        ``none``, ``rank``, ``node``, ``multicast``; default: the system's for the phase.
    dispatch
        Which replica serves a token: ``even``, ``nearest``, ``rank_modulo``, ``lp``, ``cover``
        (:mod:`moeplace.placement.dispatch`).
    phase
        ``prefill`` or ``decode``; default: the workload's own, else prefill.
    tokens_per_rank
        Tokens per rank and step; default 4,096 in prefill, 128 in decode.
    slots_per_rank
        Slots on each rank; default ``ceil((experts + redundant) / ranks)``.
    holdout
        Workload to report on; `holdout_by` and `holdout_fraction` say how it was split off.
    weight_dtype
        Dtype of the experts' weights; default: the model's where the device computes in it,
        else bf16.
    current
        Placement in use, of the same layers, experts and ranks.
    max_moves
        Most replicas of a layer that may lie on a rank that does not hold the expert in
        `current`.
    move_price_us_per_GB
        Objective ``time`` counts this many microseconds for every 1e9 bytes moved.
    max_load
        Most that the fullest rank of a layer may serve under the dispatch policy, in mean rank
        loads: 1.1 allows 10 % above the mean.
    groups_on_nodes
        Keep all experts of a router's group on one node, see :mod:`moeplace.placement.groups`.

    execution
        ``return`` (every serving engine: tokens go home after each layer) or ``stay`` (ExFlow: a
        token goes on from the rank of its main expert); ``stay`` needs a workload with anchored
        sets, ``Workload.from_trace(trace, anchored=True)``, and dispatch ``even`` or ``lp``.

    Raises
    ------
    InputError
        If a value is out of range or the workload is not one of this model.
    InfeasibleError
        If the experts do not fit into the slots or the memory.
    """
    if objective not in OBJECTIVES:
        raise InputError(f"unknown objective {objective!r}: use one of {', '.join(OBJECTIVES)}")
    if dispatch not in DISPATCH_POLICIES:
        raise InputError(
            f"unknown dispatch {dispatch!r}: use one of {', '.join(DISPATCH_POLICIES)}"
        )
    if dedup is not None and dedup not in DEDUP_MODES:
        raise InputError(f"unknown dedup {dedup!r}: use one of {', '.join(DEDUP_MODES)}")
    if execution not in EXECUTIONS:
        raise InputError(f"unknown execution {execution!r}: use one of {', '.join(EXECUTIONS)}")
    by_phase = {} if isinstance(workload, Workload) else dict(workload)
    if not isinstance(workload, Workload):
        if not by_phase:
            raise InputError("no workload given")
        phase = phase or ("prefill" if "prefill" in by_phase else next(iter(by_phase)))
        workload = by_phase.get(phase) or next(iter(by_phase.values()))
    phase = phase or workload.phase or "prefill"
    _check_phase(phase)
    system = system.for_phase(phase)
    redundant = whole("redundant", redundant)
    tokens = DEFAULT_TOKENS_PER_RANK[phase]
    if tokens_per_rank is not None:
        tokens = whole("tokens_per_rank", tokens_per_rank)
    if tokens < 1:
        raise InputError(f"tokens_per_rank is {tokens}; it must be at least 1")
    dtype = weight_dtype or system.weight_dtype(model)
    slots = check_capacity(model, system, redundant, slots_per_rank, dtype)
    resolved = dedup or system.default_dedup(phase)
    bound = ready(workload.bind(model), model, resolved, dispatch)
    problem = Problem(
        model=model,
        system=system,
        workload=bound,
        redundant=redundant,
        slots_per_rank=slots,
        objective=objective,
        dispatch=dispatch,
        phase=phase,
        tokens_per_rank=tokens,
        dedup_choice=dedup,
        weight_dtype=dtype,
        phase_workloads=by_phase,
        holdout_by=holdout_by,
        holdout_fraction=holdout_fraction,
        current=current,
        max_moves=max_moves,
        move_price_us_per_GB=float(move_price_us_per_GB),
        max_load=_check_load(max_load),
        groups_on_nodes=groups_on_nodes,
        execution=execution,
    )
    if execution == "stay":
        check_stay(bound, dispatch)
    _check_moves(problem)
    check_groups(problem)
    problem.compute_constants  # noqa: B018  refuses a dtype the device does not compute in
    if holdout is not None:
        checked = problem.with_workload(holdout).workload
        problem = problem.replace(holdout=checked)
    return problem


def _check_phase(phase: str) -> None:
    if phase not in PHASES:
        raise InputError(f"unknown phase {phase!r}: use prefill or decode")


def _without(fields: dict[str, Any], *words: str) -> dict[str, Any]:
    """Leave out what describes and does not count."""
    return {name: value for name, value in fields.items() if name not in words}


def _check_load(max_load: float | None) -> float | None:
    if max_load is None:
        return None
    try:
        limit = float(max_load)
    except (TypeError, ValueError):
        limit = np.nan
    if not (np.isfinite(limit) and limit >= 1):
        raise InputError(
            f"max_load is {max_load!r}; a number of at least 1 expected (it counts mean rank loads)"
        )
    return limit


def _check_moves(problem: Problem) -> None:
    if problem.max_moves is not None and problem.max_moves < 0:
        raise InputError(f"max_moves is {problem.max_moves}; it cannot be negative")
    if not (np.isfinite(problem.move_price_us_per_GB) and problem.move_price_us_per_GB >= 0):
        raise InputError(f"the price of a move is {problem.move_price_us_per_GB}; it must be >= 0")
    if problem.current is None:
        if problem.max_moves is not None or problem.move_price_us_per_GB:
            raise InputError("moves are counted from a current placement; give one")
        return
    if problem.move_price_us_per_GB and problem.objective != "time":
        raise InputError(f"moves have a price in time; objective {problem.objective!r} has none")
    check_shape(problem, problem.current)


def check_shape(problem: Problem, placement: Placement) -> None:
    """Raise unless the placement has the problem's layers, experts and ranks.

    Raises
    ------
    InputError
        Naming the first difference.
    """
    expected = (problem.num_layers, problem.num_experts, problem.num_ranks)
    found = (placement.num_layers, placement.num_experts, placement.num_ranks)
    if expected != found:
        raise InputError(
            f"placement has (layers, experts, ranks) = {found}, the problem {expected}; "
            "use the placement of the same model, layers and system"
        )
    wanted = problem.workload.layer_ids
    if placement.layer_ids is None or wanted is None:
        return
    for row, (have, want) in enumerate(zip(placement.layer_ids, wanted, strict=True)):
        if have != want:
            raise InputError(
                f"placement row {row} is layer {have}, the problem's is layer {want}; use the "
                "placement of the same layers"
            )


def _span(layer_ids: tuple[int, ...] | None) -> str:
    if not layer_ids:
        return "unknown"
    return f"{len(layer_ids)} from {layer_ids[0]} to {layer_ids[-1]}"
