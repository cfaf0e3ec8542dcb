"""What a comparison found: every run, what is proven, and sums over the instances."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from moeplace.formulations.result import (
    COMPARE_SCHEMA,
    OPTIMAL_GAP,
    describe_problem,
    relative_gap,
)
from moeplace.formulations.study.profile import TIED, Profile, profile_of

if TYPE_CHECKING:
    from moeplace.formulations.bounds import Bound
    from moeplace.formulations.study.trial import Trial
    from moeplace.placement import Problem


@dataclass(frozen=True, eq=False)
class Case:
    """An instance of a comparison.

    Attributes
    ----------
    bound
        The best bound that a theorem or one of the runs proved, or that the library stores.
    best_known
        The library's best known value, None elsewhere.
    """

    name: str
    problem: Problem
    bound: Bound
    best_known: float | None = None


@dataclass(frozen=True)
class Summary:
    """A solver over all instances and seeds.

    Attributes
    ----------
    runs, solved
        How many were tried, and in how many a placement was found that keeps the rules.
    optimal
        Runs with a gap of at most 1e-6.
    mean_gap, worst_gap
        Over the solved runs, None if there are none.
    wins
        Instances on which no other solver has a smaller mean value over the seeds; ties count for
        all. A solver that failed with one seed cannot win.
    mean_runtime_s
        Over the solved runs.
    """

    solver: str
    runs: int
    solved: int
    optimal: int
    mean_gap: float | None
    worst_gap: float | None
    wins: int
    mean_runtime_s: float | None


@dataclass(frozen=True, eq=False)
class Study:
    """All runs of a comparison.

    Attributes
    ----------
    limit
        ``interrupted`` if Ctrl-C ended it before everything had run.
    """

    cases: tuple[Case, ...]
    trials: tuple[Trial, ...]
    solvers: tuple[str, ...]
    seeds: tuple[int, ...]
    time_limit_s: float | None
    limit: str = ""

    def bound_of(self, instance: str) -> float:
        """Return the best bound proven on an instance."""
        return next(case.bound.value for case in self.cases if case.name == instance)

    def gap(self, trial: Trial) -> float | None:
        """Return how far from optimal a run can be at most, None if it failed."""
        if trial.value is None:
            return None
        return relative_gap(trial.value, self.bound_of(trial.instance))

    def mean_values(self, instance: str) -> dict[str, float]:
        """Return the mean value over the seeds of every solver that never failed on an instance."""
        means = {}
        for solver in self.solvers:
            runs = [t for t in self.trials if (t.instance, t.solver) == (instance, solver)]
            values = [t.value for t in runs if t.keeps_rules and t.value is not None]
            if values and len(values) == len(runs):
                means[solver] = sum(values) / len(values)
        return means

    def winners(self, instance: str) -> list[str]:
        """Return the solvers with the smallest mean value on an instance."""
        means = self.mean_values(instance)
        best = min(means.values(), default=0.0)
        return [name for name, value in means.items() if value <= best + TIED * abs(best)]

    def summary(self) -> list[Summary]:
        """Return one line a solver, in the order they were asked for."""
        wins = [name for case in self.cases for name in self.winners(case.name)]
        lines = []
        for solver in self.solvers:
            runs = [trial for trial in self.trials if trial.solver == solver]
            solved = [trial for trial in runs if trial.keeps_rules and trial.value is not None]
            gaps = [self.gap(trial) or 0.0 for trial in solved]
            times = [trial.runtime_s or 0.0 for trial in solved]
            lines.append(
                Summary(
                    solver,
                    len(runs),
                    len(solved),
                    sum(gap <= OPTIMAL_GAP for gap in gaps),
                    sum(gaps) / len(gaps) if gaps else None,
                    max(gaps, default=None),
                    wins.count(solver),
                    sum(times) / len(times) if times else None,
                )
            )
        return lines

    def profile(self, measure: str = "value") -> Profile:
        """Return the performance profile, by ``value`` or by ``time``."""
        return profile_of(self.trials, measure)

    def improved(self) -> list[Trial]:
        """Return runs that found something better than the library's best known value."""
        known = {case.name: case.best_known for case in self.cases}
        return [
            trial
            for trial in self.trials
            if (best := known[trial.instance]) is not None
            and trial.keeps_rules
            and trial.value is not None
            and trial.value < best * (1 - TIED)
        ]

    def rows(self) -> list[dict[str, Any]]:
        """Return one row a run."""
        return [
            {
                "instance": trial.instance,
                "solver": trial.solver,
                "seed": trial.seed,
                "value": trial.value,
                "gap": self.gap(trial),
                "lower_bound": self.bound_of(trial.instance),
                "runtime_s": trial.runtime_s,
                "status": self._status(trial),
                "limit": trial.limit or None,
                "balancedness": trial.balancedness,
                "score": dict(trial.score) or None,
                "layers_with_duplicates": trial.layers_with_duplicates,
                "keeps_rules": trial.keeps_rules,
                "wins": trial.solver in self.winners(trial.instance),
                "error": trial.error or None,
            }
            for trial in self.trials
        ]

    def _status(self, trial: Trial) -> str:
        gap = self.gap(trial)
        found = trial.keeps_rules and gap is not None and gap <= OPTIMAL_GAP
        return "optimal" if found else trial.status

    def to_dict(self) -> dict[str, Any]:
        """Return the study as a JSON document: that of DESIGN §7 where there is one instance."""
        one = self.cases[0] if len(self.cases) == 1 else None
        bound = None if one is None else one.bound
        return {
            "schema": COMPARE_SCHEMA,
            "problem": None if one is None else describe_problem(one.problem),
            "lower_bound": None if bound is None else bound.value,
            "bound": None if bound is None else _described(bound),
            "limit": self.limit or None,
            "time_limit_s": self.time_limit_s,
            "seeds": list(self.seeds),
            "rows": self.rows(),
            "instances": [
                {
                    "name": case.name,
                    "problem": describe_problem(case.problem),
                    "lower_bound": case.bound.value,
                    "bound": _described(case.bound),
                    "best_known": case.best_known,
                    "winners": self.winners(case.name),
                }
                for case in self.cases
            ],
            "summary": [vars(line) for line in self.summary()],
            "profiles": [self.profile(measure).to_dict() for measure in ("value", "time")],
        }


def better_bound(case: Case, trial: Trial, feasible: bool) -> Case:
    """Return the case with the bound that a run proved, if that is better."""
    proven = trial.lower_bound
    if proven is None or not feasible or proven <= case.bound.value:
        return case
    bound = replace(
        case.bound, value=proven, method=trial.solver, terms={trial.solver: proven}, proofs=()
    )
    return replace(case, bound=bound)


def _described(bound: Bound) -> dict[str, Any]:
    return {"method": bound.method, "terms": dict(bound.terms), "effort": bound.effort}
