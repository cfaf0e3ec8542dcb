"""Performance profiles: for which share of the problems a solver is within a factor of the best.

Dolan and Moré, Math. Program. 91 (2002).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from moeplace.formulations.study.trial import Trial

MEASURES = ("value", "time")
FACTORS = {
    "value": (1.0, 1.001, 1.01, 1.02, 1.05, 1.1, 1.25, 1.5, 2.0),
    "time": (1.0, 2.0, 5.0, 10.0, 100.0, 1000.0),
}
TARGET = 0.01  # `time` counts until a value within this share of the best found
TIED = 1e-9  # relative difference of two values that are the same
LEAST_S = 1e-3  # seconds below which no run is told from another


@dataclass(frozen=True, eq=False)
class Profile:
    """Ratios to the best solver of each problem.

    Attributes
    ----------
    measure
        ``value``: the objective. ``time``: seconds until a value within 1 % of the best one that
        any solver found (a target as in Beiranvand, Hare & Lucet, Optim. Eng. 18, 2017).
    ratio
        Per solver (problems,) r = t / smallest t of that problem; infinite where it failed. A
        problem is an instance with a seed.
    """

    measure: str
    ratio: Mapping[str, NDArray[np.float64]]

    def share(self, solver: str, factor: float) -> float:
        """Return ρ(τ): the share of the problems with a ratio of at most `factor`."""
        ratio = self.ratio[solver]
        return float((ratio <= factor * (1 + TIED)).mean()) if ratio.size else 0.0

    def to_dict(self) -> dict[str, Any]:
        """Return the profile at a few factors as a JSON document."""
        factors = FACTORS[self.measure]
        return {
            "measure": self.measure,
            "target": TARGET if self.measure == "time" else None,
            "problems": max((ratio.size for ratio in self.ratio.values()), default=0),
            "factors": list(factors),
            "share": {name: [self.share(name, f) for f in factors] for name in self.ratio},
        }


def profile_of(trials: Sequence[Trial], measure: str) -> Profile:
    """Return the profile of all solvers over all problems that were run.

    Runs whose placement breaks a rule count as failed.

    Parameters
    ----------
    trials
        Every solver on every instance and seed.
    measure
        One of :data:`MEASURES`.
    """
    solvers = list(dict.fromkeys(trial.solver for trial in trials))
    problems = list(dict.fromkeys((trial.instance, trial.seed) for trial in trials))
    cost = {solver: np.full(len(problems), math.inf) for solver in solvers}
    best = dict.fromkeys(problems, math.inf)
    for trial in trials:
        if trial.keeps_rules and trial.value is not None:
            key = (trial.instance, trial.seed)
            best[key] = min(best[key], trial.value)
    place = {key: number for number, key in enumerate(problems)}
    for trial in trials:
        key = (trial.instance, trial.seed)
        if trial.keeps_rules and trial.value is not None:
            found = trial.value if measure == "value" else _seconds(trial, best[key])
            cost[trial.solver][place[key]] = found
    table = np.stack([cost[solver] for solver in solvers]) if solvers else np.zeros((0, 0))
    least = table.min(axis=0, initial=math.inf)
    ratio = np.full(table.shape, math.inf)
    reached = np.isfinite(table)
    np.divide(table, least, out=ratio, where=reached & (least > 0))
    ratio[(table <= least) & reached] = 1.0  # 0 of 0 as well
    return Profile(measure, {solver: ratio[row] for row, solver in enumerate(solvers)})


def _seconds(trial: Trial, best: float) -> float:
    """Return when a run was first within the target, infinite if never."""
    wanted = best * (1 + TARGET)
    times = [at for at, value in trial.history if value <= wanted * (1 + TIED)]
    return max(LEAST_S, times[0]) if times else math.inf
