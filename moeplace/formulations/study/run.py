"""Run every solver with every seed on every instance, and keep what is finished."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from moeplace.errors import InputError
from moeplace.formulations.bounds import lower_bound
from moeplace.formulations.compare import default_solvers
from moeplace.formulations.instances import Instance, load_instance
from moeplace.formulations.registry import solver_info
from moeplace.formulations.report import Beside
from moeplace.formulations.study.store import Store
from moeplace.formulations.study.study import Case, Study, better_bound
from moeplace.formulations.study.trial import Trial, run_trial

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from moeplace.formulations.result import Incumbent
    from moeplace.parallel import Workers
    from moeplace.placement import Problem

WARM_UP_S = 0.2


@dataclass(frozen=True)
class Rules:
    """What holds for every run of a comparison."""

    solvers: tuple[str, ...]
    seeds: tuple[int, ...]
    time_limit_s: float | None
    workers: Workers | None
    warm_up: bool
    on_run: Callable[[str, Problem, str, int], None] | None = None
    on_incumbent: Callable[[Incumbent], None] | None = None


def compare_instances(
    instances: Sequence[str | Instance] | Mapping[str, Problem],
    solvers: Sequence[str] | None = None,
    *,
    seeds: Sequence[int] = (0,),
    time_limit_s: float | None = None,
    store: str | Path | None = None,
    bound_effort: str = "fast",
    bound_time_limit_s: float | None = None,
    warm_up: bool = False,
    on_trial: Callable[[Trial], None] | None = None,
    on_run: Callable[[str, Problem, str, int], None] | None = None,
    on_incumbent: Callable[[Incumbent], None] | None = None,
    workers: Workers | None = None,
) -> Study:
    """Run solvers on instances with several seeds, all under one time limit.

    Parameters
    ----------
    instances
        Names of :func:`moeplace.list_instances`, instances, or problems by name.
    solvers
        Heuristics, baselines and exact solvers; default: every baseline and heuristic that takes
        the objective of one of the instances. One that refuses an instance gets a row saying why.
    seeds
        Seeds of every solver.
    time_limit_s
        Seconds for each run; None lets every solver run to its own end.
    store
        A folder for finished runs and bounds; what is there is not run again.
    bound_effort, bound_time_limit_s
        As :func:`moeplace.lower_bound` has them. The gap refers to the best of this bound, the
        library's and what exact solvers proved.
    warm_up
        Whether each solver is first run for a moment without being timed, so that no run loads
        compiled code.
    on_trial
        Called with each run, also those taken from the store.
    on_run
        Called before each run with the instance's name and problem, the solver and the seed.
    on_incumbent
        Called with every better placement of a run.
    workers
        Who works on the layers of one run.

    Returns
    -------
    Study
        Interrupted by Ctrl-C, with the runs that were finished.

    Raises
    ------
    InputError
        If a name is unknown, there is nothing to run, or the store is damaged.
    """
    asked = _asked(instances)
    names = tuple(dict.fromkeys(solvers or _defaults(asked)))
    for name in names:
        solver_info(name)
    chosen = tuple(dict.fromkeys(int(seed) for seed in seeds))
    if not asked or not names or not chosen:
        raise InputError("nothing to compare: give at least one instance, solver and seed")
    kept = Store(store)
    rules = Rules(names, chosen, time_limit_s, workers, warm_up, on_run, on_incumbent)
    cases: list[Case] = []
    trials: list[Trial] = []
    warm: set[tuple[str, ...]] = set()
    limit = ""
    for name, (problem, known) in asked.items():
        try:
            case = _bounded(name, problem, known, kept, bound_effort, bound_time_limit_s)
        except KeyboardInterrupt:
            if not trials:
                raise
            limit = "interrupted"
            break
        cases.append(case)
        limit = _run_case(cases, trials, kept, rules, warm, on_trial)
        if limit:
            break
    if limit and not trials:
        raise KeyboardInterrupt
    return Study(tuple(cases), tuple(trials), names, chosen, time_limit_s, limit)


def _run_case(
    cases: list[Case],
    trials: list[Trial],
    kept: Store,
    rules: Rules,
    warm: set[tuple[str, ...]],
    on_trial: Callable[[Trial], None] | None,
) -> str:
    """Run everything on the last case; return what ended it early."""
    case = cases[-1]
    problem, beside = case.problem, None
    for solver in rules.solvers:
        for seed in rules.seeds:
            trial = kept.trial(problem, case.name, solver, seed, rules.time_limit_s)
            if trial is None:
                if rules.on_run is not None:
                    rules.on_run(case.name, problem, solver, seed)
                beside = Beside(problem, seed, case.bound) if beside is None else beside.at(seed)
                try:
                    if rules.warm_up:
                        _warm_up(beside, solver, warm, rules)
                    trial = run_trial(
                        beside,
                        case.name,
                        solver,
                        rules.time_limit_s,
                        rules.workers,
                        rules.on_incumbent,
                    )
                except KeyboardInterrupt:
                    return "interrupted"
                kept.keep_trial(problem, trial)
            trials.append(trial)
            cases[-1] = better_bound(cases[-1], trial, solver_info(solver).feasible)
            if on_trial is not None:
                on_trial(trial)
            if trial.limit == "interrupted":
                return "interrupted"
    return ""


def _warm_up(beside: Beside, solver: str, warm: set[tuple[str, ...]], rules: Rules) -> None:
    """Load what a solver compiles, once for each kind of problem."""
    problem = beside.problem
    kind = (solver, problem.objective, problem.dedup, problem.dispatch, problem.system.kind)
    if kind not in warm:
        warm.add(kind)
        run_trial(beside, "", solver, WARM_UP_S, rules.workers)


def _bounded(
    name: str,
    problem: Problem,
    known: Instance | None,
    kept: Store,
    effort: str,
    limit_s: float | None,
) -> Case:
    bound = kept.bound(problem, effort, limit_s)
    if bound is None:
        bound = lower_bound(problem, effort, limit_s)
        kept.keep_bound(problem, bound, effort, limit_s)
    record = None if known is None else known.record
    if record is None:
        return Case(name, problem, bound)
    if record.lower_bound > bound.value:
        method = f"library: {record.proven_by}"
        terms: dict[str, Any] = {method: record.lower_bound}
        bound = replace(bound, value=record.lower_bound, method=method, terms=terms, proofs=())
    return Case(name, problem, bound, record.value)


def _asked(
    instances: Sequence[str | Instance] | Mapping[str, Problem],
) -> dict[str, tuple[Problem, Instance | None]]:
    if isinstance(instances, str):
        raise InputError(f"instances is one text, {instances!r}; give a list of names")
    if isinstance(instances, Mapping):
        return {name: (problem, None) for name, problem in instances.items()}
    found = [load_instance(one) if isinstance(one, str) else one for one in instances]
    return {one.name: (one.problem, one) for one in found}


def _defaults(asked: Mapping[str, tuple[Problem, Instance | None]]) -> list[str]:
    return [name for problem, _ in asked.values() for name in default_solvers(problem)]
