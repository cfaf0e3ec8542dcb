"""One placement question at many points: systems, ranks, redundancy, links, batches, models."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np

from moeplace.errors import InfeasibleError, InputError
from moeplace.formulations.solve import solve
from moeplace.hwmodels import load_system
from moeplace.models import load_model
from moeplace.placement import evaluate, make_problem
from moeplace.traces import default_workloads

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from moeplace.models import ModelSpec
    from moeplace.placement import Placement, Problem
    from moeplace.traces import Workload

AXES = ("model", "hw", "ranks", "phase", "tokens_per_rank", "redundant", "link_GBps", "nic_GBps")
MOST_POINTS = 20_000


@dataclass(frozen=True)
class Sweep:
    """What is varied; every combination is one point.

    Attributes
    ----------
    models, systems, phases
        Names.
    ranks, tokens_per_rank, redundant
        Whole numbers; None in `ranks` and `tokens_per_rank` for the default.
    link_GBps, nic_GBps
        Bandwidths of the fast links and of the NICs; None for the system's own.
    solver
        Finds the placement of each point; the same one serves all bandwidths.
    layers
        Layers that stand for all, evenly spread; None for all of them.
    """

    models: Sequence[str]
    systems: Sequence[str]
    phases: Sequence[str] = ("prefill",)
    ranks: Sequence[int | None] = (None,)
    tokens_per_rank: Sequence[int | None] = (None,)
    redundant: Sequence[int] = (0,)
    link_GBps: Sequence[float | None] = (None,)
    nic_GBps: Sequence[float | None] = (None,)
    solver: str = "eplb"
    layers: int | None = 8

    @property
    def num_points(self) -> int:
        """Combinations."""
        sizes = [len(axis) for axis in (self.models, self.systems, self.phases, self.ranks)]
        sizes += [len(axis) for axis in (self.tokens_per_rank, self.redundant)]
        sizes += [len(axis) for axis in (self.link_GBps, self.nic_GBps)]
        return int(np.prod(sizes))


def run_sweep(
    sweep: Sweep, on_point: Callable[[dict[str, Any]], None] | None = None
) -> list[dict[str, Any]]:
    """Place and score every point.

    Times are of one MoE layer, the mean over the layers that are used, so that points with
    different layers compare. A point that cannot exist has ``status`` ``infeasible`` and a
    reason.

    Parameters
    ----------
    sweep
        The values of every axis.
    on_point
        Called with each row as soon as it is there.

    Returns
    -------
    One row a point with :data:`AXES`, ``status``, ``layer_us``, ``dispatch_us``, ``compute_us``,
    ``combine_us``, ``balancedness``, ``copies_per_token``, ``memory_GiB_per_rank``,
    ``tokens_per_s_per_rank`` (of the MoE layers alone) and ``reason``.

    Raises
    ------
    InputError
        If a name is unknown, a figure is wrong or there are too many points.
    """
    if not 0 < sweep.num_points <= MOST_POINTS:
        raise InputError(f"{sweep.num_points:,} points; a sweep has 1 to {MOST_POINTS:,}")
    if sweep.layers is not None and sweep.layers < 1:
        raise InputError(f"layers is {sweep.layers}; it must be at least 1")
    rows = []
    for name in sweep.models:
        model = load_model(name)
        if not default_workloads(model.name):
            raise InputError(
                f"no measured routing ships for {model.name}; sweep models that have some "
                "(`moeplace model list`)"
            )
        workloads = _some_layers(default_workloads(model.name), model, sweep.layers)
        for row in _model_rows(sweep, model, workloads):
            rows.append(row)
            if on_point is not None:
                on_point(row)
    return rows


def _some_layers(
    workloads: Mapping[str, Workload], model: ModelSpec, count: int | None
) -> dict[str, Workload]:
    if count is None:
        return dict(workloads)
    chosen = {}
    for phase, workload in workloads.items():
        bound = workload.bind(model)
        take = min(count, bound.num_layers)
        rows = np.unique(np.linspace(0, bound.num_layers - 1, take).round().astype(int))
        chosen[phase] = bound.select_layers([int(row) for row in rows])
    return chosen


def _model_rows(
    sweep: Sweep, model: ModelSpec, workloads: Mapping[str, Workload]
) -> Iterator[dict[str, Any]]:
    outer = product(
        sweep.systems, sweep.ranks, sweep.phases, sweep.tokens_per_rank, sweep.redundant
    )
    maps: dict[tuple[Any, ...], Placement] = {}
    for hw, ranks, phase, tokens, redundant in outer:
        base = load_system(hw, ranks)
        for link, nic in product(sweep.link_GBps, sweep.nic_GBps):
            changes = {"link_GBps": link, "nic_GBps": nic}
            system = base.replace(**{k: v for k, v in changes.items() if v is not None})
            axes = (model.name, hw, system.ranks, phase, tokens, redundant)
            row = dict(zip(AXES, (*axes, system.link_GBps, system.nic_GBps or None), strict=True))
            try:
                problem = make_problem(
                    model,
                    system,
                    dict(workloads),
                    redundant,
                    phase=phase,
                    tokens_per_rank=tokens,
                )
                # A solver that balances does not look at links: one map serves them all.
                key = (hw, system.ranks, phase, problem.tokens_per_rank, redundant)
                if key not in maps:
                    found = solve(problem, sweep.solver)
                    if found.limit == "interrupted":
                        raise KeyboardInterrupt  # half a search compares with no other point
                    if found.placement is None:
                        raise InfeasibleError(f"{sweep.solver} found no placement")
                    maps[key] = found.placement
                yield row | _figures(problem, maps[key])
            except InfeasibleError as error:
                yield row | {"status": "infeasible", "reason": str(error)}


def _figures(problem: Problem, placement: Placement) -> dict[str, Any]:
    score = evaluate(problem, placement)
    layers = problem.num_layers
    layer_s = score.step_time_s / layers
    return {
        "tokens_per_rank": problem.tokens_per_rank,
        "status": "ok",
        "layer_us": layer_s * 1e6,
        "dispatch_us": score.dispatch_s / layers * 1e6,
        "compute_us": score.compute_s / layers * 1e6,
        "combine_us": score.combine_s / layers * 1e6,
        "balancedness": score.balancedness,
        "copies_per_token": score.copies_per_token,
        "memory_GiB_per_rank": score.memory_GiB_per_rank,
        "tokens_per_s_per_rank": problem.tokens_per_rank / (layer_s * problem.model.num_moe_layers),
        "reason": "",
    }
