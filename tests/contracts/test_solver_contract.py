"""What every registered solver owes, checked the same way for all of them."""

from __future__ import annotations

from functools import cache
from importlib.util import find_spec
from itertools import count
from typing import TYPE_CHECKING

import numpy as np
import pytest

from moeplace import evaluate, lower_bound, make_problem, solve, violations
from moeplace.errors import InputError
from moeplace.formulations.registry import SOLVERS, load_solver
from moeplace.formulations.solver import Run
from moeplace.placement import DISPATCH_POLICIES, Placement, Problem
from moeplace.traces import Workload
from tests.reference.brute_force import optimum
from tests.reference.chains import random_stay_problem
from tests.reference.instances import (
    OBJECTIVES,
    random_placement,
    random_problem,
    tiny_cluster,
    tiny_mesh,
    tiny_model,
)

if TYPE_CHECKING:
    from moeplace import Result

ROUNDING = 1 + 1e-9
CASES = [(name, goal) for name, info in SOLVERS.items() for goal in info.objectives]
OWN = [(name, goal) for name, goal in CASES if SOLVERS[name].kind != "baseline"]
EXACT = [(name, goal) for name, goal in CASES if SOLVERS[name].kind == "exact"]


@pytest.fixture(autouse=True)
def _backend(request: pytest.FixtureRequest) -> None:
    """Skip a solver whose optional package is not there."""
    solver = (
        request.node.callspec.params.get("solver") if hasattr(request.node, "callspec") else None
    )
    backend = SOLVERS[solver].backend if solver else ""
    if backend and find_spec(backend) is None:
        pytest.skip(f"{backend} is not installed")


def is_plain(problem: Problem) -> bool:
    """Return whether a problem asks nothing that a method may not know.

    Plain are: an even split, one node, replicas that divide over the ranks, and known token sets.
    Elsewhere a solver may refuse with an InputError that says why.
    """
    divisible = problem.max_replicas % problem.num_ranks == 0
    known = problem.workload.token_sets is not None
    return known and divisible and problem.dispatch == "even" and problem.system.num_nodes == 1


def is_known(problem: Problem, solver: str) -> bool:
    """Return whether the workload knows what a solver needs of it."""
    chained = problem.workload.transition_counts is not None
    return chained or "transition" not in SOLVERS[solver].needs


def with_transitions(problem: Problem, seed: int) -> Problem:
    """Return the problem with some transitions between main experts."""
    layers, experts = problem.workload.load.shape
    counts = np.random.default_rng(seed).gamma(0.3, size=(layers - 1, experts, experts))
    return problem.replace(workload=problem.workload.replace(transition_counts=counts))


@cache
def instances(objective: str, number: int, **kinds) -> list[Problem]:
    """Return small random problems with one objective, every other one plain if it can be."""
    chosen: list[Problem] = []
    mixed = kinds.get("dispatch", "even") == "even"
    rngs = (np.random.default_rng(seed) for seed in count())
    while len(chosen) < number:
        problem = random_problem(next(rngs), objective=objective, **kinds)
        if is_plain(problem) or len(chosen) % 2 or not mixed:
            chosen.append(with_transitions(problem, len(chosen)))
    return chosen


def small(solver: str) -> dict[str, int]:
    """Return the size of the instances a solver is tried on: what it ends on, without a clock."""
    if SOLVERS[solver].kind != "exact":
        return {}
    return {"max_experts": 5, "max_ranks": 3, "max_layers": 2, "max_redundant": 2}


def attempt(problem: Problem, solver: str, **options) -> Result | None:
    """Solve; return None where the solver may refuse and does, in one line."""
    try:
        return solve(problem, solver, **options)
    except InputError as refusal:
        info = SOLVERS[solver]
        copes = info.kind == "heuristic" and not info.needs
        plain = is_plain(problem) and is_known(problem, solver)
        if plain or copes or "\n" in str(refusal):
            raise
        return None


def check(problem: Problem, solver: str, **options) -> None:
    """Solve, and check what a result owes whatever the problem."""
    result = attempt(problem, solver, **options)
    if result is None:
        return
    assert result.placement is not None
    assert result.solver == solver
    assert result.status in ("optimal", "feasible")
    broken = violations(problem, result.placement)
    if SOLVERS[solver].feasible:
        assert broken == []
    score = evaluate(problem, result.placement)
    assert result.score.to_dict() == score.to_dict()
    assert result.score.objective == score.objective
    if not broken:
        assert result.lower_bound <= score.objective * ROUNDING
        assert (result.status == "optimal") == (result.gap <= 1e-6)
    assert set(result.baselines) == {"contiguous", "random", "eplb"}


@pytest.mark.parametrize(("solver", "objective"), CASES)
def test_result(solver, objective):
    """A result is feasible, scored by evaluate, above its bound and beside the baselines."""
    for problem in instances(objective, 4, **small(solver)):
        check(problem, solver)


@cache
def chains(objective: str, number: int) -> list[Problem]:
    """Return small random problems in which tokens stay with their main expert."""
    return [
        random_stay_problem(np.random.default_rng(seed), objective=objective)[0]
        for seed in range(number)
    ]


@pytest.mark.parametrize(("solver", "objective"), CASES)
def test_result_where_tokens_stay(solver, objective):
    """The same under stay execution; exact solvers, which take layers one by one, refuse."""
    for problem in chains(objective, 3):
        if SOLVERS[solver].kind == "exact":
            with pytest.raises(InputError, match="couples them"):
                solve(problem, solver)
        else:
            check(problem, solver)


@pytest.mark.slow
@pytest.mark.parametrize("dispatch", DISPATCH_POLICIES)
@pytest.mark.parametrize(("solver", "objective"), CASES)
def test_result_under_every_policy(solver, objective, dispatch):
    """The same on more instances, under each policy of choosing replicas."""
    for problem in instances(objective, 12, dispatch=dispatch, **small(solver)):
        check(problem, solver)


@pytest.mark.parametrize(("solver", "objective"), CASES)
def test_same_seed_same_placement(solver, objective):
    """A seed decides everything."""
    for problem in instances(objective, 2, **small(solver)):
        first, second = (attempt(problem, solver, seed=7) for _ in range(2))
        if first is not None:
            np.testing.assert_array_equal(
                first.placement.expert_of_slot, second.placement.expert_of_slot
            )


@pytest.mark.parametrize(("solver", "objective"), OWN)
def test_warm_start_is_never_lost(solver, objective):
    """Given a placement to start from, the result is no worse, even if it is the best one."""
    for seed, problem in enumerate(instances(objective, 3, **{"max_layers": 2, **small(solver)})):
        start = random_placement(np.random.default_rng(seed), problem)
        value = evaluate(problem, start).objective
        result = attempt(problem, solver, initial=start)
        if result is None:
            continue
        assert result.score.objective <= value * ROUNDING
        again = solve(problem, solver, initial=result.placement)
        assert again.score.objective <= result.score.objective * ROUNDING


@pytest.mark.parametrize(("solver", "objective"), OWN)
def test_an_optimal_start_stays(solver, objective):
    """From an optimum found by brute force nothing gets worse."""
    for problem in instances(objective, 2, max_layers=1, max_experts=4, max_ranks=3):
        least, best = optimum(problem)[objective]
        result = attempt(problem, solver, initial=best)
        assert result is None or result.score.objective <= least * ROUNDING


@pytest.mark.parametrize(("solver", "objective"), CASES)
def test_inputs_are_left_alone(solver, objective):
    """Solving changes neither the problem nor the starting placement."""
    problem = instances(objective, 1, **small(solver))[0]
    start = random_placement(np.random.default_rng(1), problem)
    load, table = problem.workload.load.copy(), start.expert_of_slot.copy()
    prints = problem.workload.fingerprint(), problem.replace().fingerprint
    attempt(problem, solver, initial=start)
    np.testing.assert_array_equal(problem.workload.load, load)
    np.testing.assert_array_equal(start.expert_of_slot, table)
    assert (problem.workload.fingerprint(), problem.replace().fingerprint) == prints


@pytest.mark.parametrize(
    "solver", [n for n, i in SOLVERS.items() if set(OBJECTIVES) - {*i.objectives}]
)
def test_objective_not_supported(solver):
    """Asked for what it does not optimize, a solver is refused with the ones it does."""
    for objective in set(OBJECTIVES) - set(SOLVERS[solver].objectives):
        with pytest.raises(InputError, match=f"not {objective!r}"):
            solve(instances(objective, 1)[0], solver)


@cache
def degenerate(objective: str) -> dict[str, Problem]:
    """Return the corners of the space of problems."""

    def problem(load, top_k=1, system=None, redundant=0, **more) -> Problem:
        load = np.atleast_2d(np.array(load, float))
        layers, experts = load.shape
        made = make_problem(
            tiny_model(experts, top_k, layers),
            system or tiny_mesh(1, 3),
            Workload.from_loads(load, top_k=top_k),
            redundant=redundant,
            objective=objective,
            **{"tokens_per_rank": 16, **more},
        )
        return with_transitions(made, 0)

    return {
        "one rank": problem([3, 1, 2], system=tiny_mesh(1, 1)),
        "one expert": problem([5]),
        "one expert everywhere": problem([5], redundant=2),
        "top_k = experts": problem([1, 1, 1, 1], top_k=4, redundant=2),
        "all load on one expert": problem([0, 0, 9, 0], redundant=3),
        "slots = experts": problem([4, 3, 2, 1, 5, 6]),
        "fewer experts than ranks": problem([4, 3], system=tiny_cluster(5, 2)),
        "an expert without load": problem([4, 0, 2, 1], redundant=1),
        "every expert everywhere": problem([4, 3, 2, 1], redundant=8),
        "room for all, no replicas": problem([4, 3, 2, 1], slots_per_rank=4),
        "an uneven cluster": problem([4, 3, 2, 1, 1], top_k=2, system=tiny_cluster(5, 3)),
        "layers unlike each other": problem([[9, 1, 1], [1, 1, 9], [1, 1, 1]], redundant=2),
    }


@pytest.mark.parametrize("case", degenerate("time"))
@pytest.mark.parametrize("solver", SOLVERS)
def test_degenerate(solver, case):
    """Corner cases are solved like any other."""
    for objective in SOLVERS[solver].objectives:
        check(degenerate(objective)[case], solver)


@pytest.mark.parametrize("case", ["one expert everywhere", "fewer experts than ranks"])
@pytest.mark.parametrize(
    "solver",
    [
        name
        for name, info in SOLVERS.items()
        if info.kind in ("heuristic", "exact") and "balance" in info.objectives
    ],
)
def test_easy_balance(solver, case):
    """Where only one replica per rank is sensible, every solver of our own finds the best."""
    problem = degenerate("balance")[case]
    least, _ = optimum(problem)["balance"]
    assert solve(problem, solver).score.objective <= least * ROUNDING


@pytest.mark.parametrize(("solver", "objective"), EXACT)
def test_exact_is_optimal(solver, objective):
    """An exact solver proves, under an even split, what trying everything finds."""
    for problem in instances(
        objective, 6, max_experts=5, max_ranks=3, max_layers=1, max_redundant=2, dispatch="even"
    ):
        result = solve(problem, solver)
        least, _ = optimum(problem)[objective]
        assert result.score.objective == pytest.approx(least, rel=1e-6)
        assert result.status == "optimal"


@pytest.mark.parametrize("dispatch", ["nearest", "rank_modulo"])
@pytest.mark.parametrize(("solver", "objective"), EXACT)
def test_exact_claims_no_more_than_it_proves(solver, objective, dispatch):
    """Under the other policies what is called optimal is."""
    for problem in instances(
        objective, 10, max_experts=4, max_ranks=3, max_layers=1, dispatch=dispatch
    ):
        least, _ = optimum(problem)[objective]
        result = attempt(problem, solver)
        if result is None:
            continue
        assert result.lower_bound <= least * ROUNDING
        if result.status == "optimal":
            assert result.score.objective <= least * (1 + 2e-6)


@pytest.mark.parametrize("solver", SOLVERS)
def test_the_seam(solver):
    """Called directly a solver returns a placement of the problem's shape, or None."""
    info = SOLVERS[solver]
    for problem in filter(is_plain, instances(info.objectives[0], 6, **small(solver))):
        solved = load_solver(solver)(problem, Run(seed=0), None)
        assert isinstance(solved.placement, Placement)
        assert solved.placement.expert_of_slot.shape == (problem.num_layers, problem.num_slots)
        if solved.lower_bound is not None:
            value = evaluate(problem, solved.placement).objective
            assert solved.lower_bound <= value * ROUNDING
            assert lower_bound(problem).value <= value * ROUNDING


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_no_time_still_gives_a_placement(objective):
    """The default solver has a feasible placement at once, and says that time ran out."""
    rng = np.random.default_rng(0)
    load = rng.gamma(0.5, size=(6, 64)) + 1e-3
    problem = make_problem(
        tiny_model(64, 4, 6),
        tiny_mesh(2, 4),
        Workload.from_loads(load, top_k=4),
        redundant=8,
        objective=objective,
    )
    result = solve(problem, "auto", time_limit_s=1e-3)
    assert violations(problem, result.placement) == []
    assert result.limit == "time"
