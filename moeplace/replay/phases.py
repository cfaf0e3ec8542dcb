"""Prefill and decode on pools of their own: a map for each, from one set of statistics."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from moeplace.errors import LimitError
from moeplace.formulations.heuristics.simple import contiguous
from moeplace.formulations.solve import solve
from moeplace.formulations.solver import Run
from moeplace.placement import evaluate, make_problem

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from moeplace.formulations.result import Incumbent, Result
    from moeplace.hwmodels import System
    from moeplace.models import ModelSpec
    from moeplace.placement import Placement, Problem
    from moeplace.traces import Workload

SCHEMA = "moeplace.disaggregate/1"
PHASES = ("prefill", "decode")
MOMENT_S = 0.001  # for the phase that is left when the first was interrupted


@dataclass(frozen=True)
class Pool:
    """Devices that serve one phase.

    Attributes
    ----------
    system
        Of any size; the pools need not be alike.
    redundant
        Replicas beyond the first, at most, per layer.
    tokens_per_rank
        Tokens per rank and step; None for the phase's default.
    """

    system: System
    redundant: int = 0
    tokens_per_rank: int | None = None


@dataclass(frozen=True, eq=False)
class PhaseMaps:
    """A map for each phase.

    Attributes
    ----------
    results
        Result of each phase, by phase.
    rows
        Step time of every map in every phase it fits: its own, the other phase's where both pools
        have the same slots, and contiguous.
    """

    results: Mapping[str, Result]
    rows: tuple[Mapping[str, Any], ...]

    def to_dict(self) -> dict[str, Any]:
        """Return what JSON shows."""
        return {
            "schema": SCHEMA,
            "phases": {phase: result.to_dict() for phase, result in self.results.items()},
            "rows": [dict(row) for row in self.rows],
        }


def place_phases(
    model: ModelSpec,
    workload: Workload | Mapping[str, Workload],
    prefill: Pool,
    decode: Pool,
    *,
    solver: str = "auto",
    time_limit_s: float | None = None,
    seed: int = 0,
    on_phase: Callable[[str, Problem], None] | None = None,
    on_incumbent: Callable[[Incumbent], None] | None = None,
) -> PhaseMaps:
    """Solve prefill and decode apart, each for its own pool, batch and kernels.

    Parameters
    ----------
    model
        What is placed.
    workload
        One set of statistics for both, or one by phase; a phase without its own takes the other's
        (prefill routing predicts decode routing: arXiv 2510.05497, insight 1).
    prefill, decode
        Where each runs.
    solver, time_limit_s, seed
        Of :func:`moeplace.solve`, for each phase. Ctrl-C in one phase leaves the other a moment.
    on_phase, on_incumbent
        Called before each phase is solved, and with every better placement.
    """
    results: dict[str, Result] = {}
    for phase, pool in zip(PHASES, (prefill, decode), strict=True):
        if hasattr(workload, "load"):
            known: Any = workload
        else:
            known = workload.get(phase) or next(iter(workload.values()))
        problem = make_problem(
            model,
            pool.system,
            known.replace(phase=None),
            redundant=pool.redundant,
            phase=phase,
            tokens_per_rank=pool.tokens_per_rank,
        )
        if on_phase is not None:
            on_phase(phase, problem)
        results[phase] = solve(
            problem, solver, time_limit_s=time_limit_s, seed=seed, on_incumbent=on_incumbent
        )
        if results[phase].limit == "interrupted":
            time_limit_s = MOMENT_S
    own = {phase: _placed(result.placement) for phase, result in results.items()}
    maps = {
        phase: {
            phase: own[phase],
            "contiguous": _placed(contiguous(result.problem, Run(seed), None).placement),
        }
        for phase, result in results.items()
    }
    one, other = (own[phase] for phase in PHASES)
    if one.expert_of_slot.shape == other.expert_of_slot.shape and one.num_ranks == other.num_ranks:
        maps["prefill"]["decode"], maps["decode"]["prefill"] = other, one
    rows = []
    for phase in PHASES:
        for name in ("prefill", "decode", "contiguous"):
            if name in maps[phase]:
                score = evaluate(results[phase].problem, maps[phase][name])
                rows.append(
                    {
                        "phase": phase,
                        "map": name,
                        "step_ms": 1e3 * score.step_time_s,
                        "balancedness": score.balancedness,
                        "copies_per_token": score.copies_per_token,
                        "replicas": int((maps[phase][name].expert_of_slot >= 0).sum()),
                    }
                )
    return PhaseMaps(results, tuple(rows))


def _placed(placement: Placement | None) -> Placement:
    if placement is None:
        raise LimitError("no placement was found within the limit; raise the time limit")
    return placement
