from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from moeplace.formulations.heuristics.eplb import eplb_label

if TYPE_CHECKING:
    from collections.abc import Mapping

    from moeplace.formulations.bounds.bound import Bound
    from moeplace.placement import Placement, Problem, Score

OPTIMAL_GAP = 1e-6
RESULT_SCHEMA = "moeplace.result/1"
COMPARE_SCHEMA = "moeplace.compare/1"


def relative_gap(value: float, bound: float | None) -> float | None:
    """Return (value − bound) / value; 0 where both are 0, None without a bound (DESIGN §5)."""
    if bound is None:
        return None
    if value == 0:
        return 0.0
    return max(0.0, (value - bound) / value)


@dataclass(frozen=True)
class Incumbent:
    """A better placement, found while solving."""

    elapsed_s: float
    value: float
    lower_bound: float | None

    @property
    def gap(self) -> float | None:
        """How far from optimal it can be at most."""
        return relative_gap(self.value, self.lower_bound)


@dataclass(frozen=True, eq=False)
class Result:
    """What solving a problem gave, scored with ``evaluate`` and not by the solver.

    Attributes
    ----------
    status
        ``optimal`` (gap ≤ 1e-6), ``feasible``, ``infeasible`` (this placement breaks a rule) or
        ``unknown``.
    limit
        Which limit stopped the solver: ``""``, ``time``, ``iterations``, ``interrupted``.
    runtime_s
        Seconds the solver took; the bound and the baselines are not counted.
    bound
        The best proven lower bound, None if none applies.
    history
        Incumbents in the order they were found.
    baselines
        Scores of contiguous, random and EPLB on the same problem.
    scores_by_phase, baselines_by_phase
        Scores of this placement, and of the baselines, in prefill and in decode.
    baseline_duplicates
        Layers in which a baseline holds an expert twice on a rank.
    violations
        Rules of the problem that the placement breaks; none unless it was given, or no placement
        was found that keeps `max_load`.
    scenarios
        Scores in each scenario of a robust problem, empty elsewhere.
    holdout, holdout_baselines
        Scores on the part not optimized on, None and empty without one.
    """

    problem: Problem
    placement: Placement | None
    score: Score | None
    status: str
    limit: str
    solver: str
    seed: int
    runtime_s: float
    bound: Bound | None
    history: tuple[Incumbent, ...] = ()
    baselines: Mapping[str, Score] = field(default_factory=dict)
    scores_by_phase: Mapping[str, Score] = field(default_factory=dict)
    baselines_by_phase: Mapping[str, Mapping[str, Score]] = field(default_factory=dict)
    baseline_duplicates: Mapping[str, int] = field(default_factory=dict)
    violations: tuple[str, ...] = ()
    scenarios: tuple[Score, ...] = ()
    holdout: Score | None = None
    holdout_baselines: Mapping[str, Score] = field(default_factory=dict)

    @property
    def lower_bound(self) -> float | None:
        """The bound's value."""
        return None if self.bound is None else self.bound.value

    @property
    def gap(self) -> float | None:
        """(value − bound) / value; None without a placement or a bound."""
        return None if self.score is None else relative_gap(self.score.objective, self.lower_bound)

    def to_dict(self, *, placement_path: str | None = None) -> dict[str, Any]:
        """Return the result as the JSON document of DESIGN §7."""
        holdout = None
        if self.holdout is not None:
            holdout = {
                "by": self.problem.holdout_by,
                "fraction": self.problem.holdout_fraction,
                "score": self.holdout.to_dict(),
                "baselines": _scores(self.holdout_baselines),
            }
        return {
            "schema": RESULT_SCHEMA,
            "problem": describe_problem(self.problem),
            "solver": self.solver,
            "seed": self.seed,
            "status": self.status,
            "limit": self.limit or None,
            "runtime_s": self.runtime_s,
            "objective": {
                "name": self.problem.objective,
                "value": None if self.score is None else self.score.objective,
                "lower_bound": self.lower_bound,
                "gap": self.gap,
                "mean_layer_gap": self.mean_layer_gap,
                "bound": None
                if self.bound is None
                else {
                    "method": self.bound.method,
                    "terms": dict(self.bound.terms),
                    "effort": self.bound.effort,
                },
            },
            "score": None if self.score is None else self.score.to_dict(),
            "scores_by_phase": _scores(self.scores_by_phase),
            "baselines": _scores(self.baselines),
            "baselines_by_phase": {
                phase: _scores(named) for phase, named in self.baselines_by_phase.items()
            },
            "layers_with_duplicates": dict(self.baseline_duplicates),
            "violations": list(self.violations),
            "holdout": holdout,
            "scenarios": [
                {"objective": score.objective, **score.to_dict()} for score in self.scenarios
            ],
            "history": [
                {"elapsed_s": i.elapsed_s, "value": i.value, "gap": i.gap} for i in self.history
            ],
            "placement": placement_path,
        }

    @property
    def mean_layer_gap(self) -> float | None:
        """Mean over the layers of each layer's own gap."""
        if self.score is None or self.bound is None:
            return None
        pairs = zip(self.score.layer_objective, self.bound.layer_value, strict=True)
        gaps = [relative_gap(float(value), float(bound)) or 0.0 for value, bound in pairs]
        return sum(gaps) / len(gaps)


def _scores(named: Mapping[str, Score]) -> dict[str, dict[str, float | None]]:
    return {name: score.to_dict() for name, score in named.items()}


def describe_problem(problem: Problem) -> dict[str, Any]:
    """Return the facts that name a problem in result files (DESIGN §7)."""
    workload = problem.workload
    return {
        "model": problem.model.name,
        "system": problem.system.name,
        "phase": problem.phase,
        "tokens_per_rank": problem.tokens_per_rank,
        "layers": problem.num_layers,
        "layer_ids": None if workload.layer_ids is None else list(workload.layer_ids),
        "experts": problem.num_experts,
        "top_k": problem.top_k,
        "ranks": problem.num_ranks,
        "slots": problem.num_slots,
        "redundant": problem.redundant,
        "dedup": problem.dedup,
        "dispatch": problem.dispatch,
        "execution": problem.execution,
        "objective": problem.objective,
        "weight_dtype": problem.weight_dtype,
        "eplb": eplb_label(problem),
        "workload": {
            "name": workload.name,
            "kind": "synthetic" if problem.is_synthetic else "measured",
            "loads": workload.kind,
            "token_sets": workload.token_sets_kind if problem.dedup != "none" else None,
        },
        "scenarios": [
            {"phase": s.phase, "workload": s.workload.name, "tokens_per_rank": s.tokens_per_rank}
            for s in problem.scenarios
        ],
        "risk": problem.risk if problem.scenarios else None,
        "max_moves": problem.max_moves,
        "move_price_us_per_GB": problem.move_price_us_per_GB,
        **({} if problem.max_load is None else {"max_load": problem.max_load}),
        **({"groups_on_nodes": True} if problem.groups_on_nodes else {}),
        "fingerprint": problem.fingerprint,
    }
