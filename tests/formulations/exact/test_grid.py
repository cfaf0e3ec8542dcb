"""Every exact solver against trying everything, on small random instances."""

from __future__ import annotations

import numpy as np
import pytest

from moeplace.errors import InfeasibleError, InputError
from moeplace.formulations.registry import SOLVERS, load_solver
from moeplace.formulations.solver import Run
from moeplace.placement import Placement, evaluate, make_robust, violations
from tests.reference.brute_force import all_rows, optimum, slot_row
from tests.reference.instances import OBJECTIVES, random_problem, tiny_cluster

EXACT = tuple(name for name, info in SOLVERS.items() if info.kind == "exact")
SMALL = {"max_experts": 5, "max_ranks": 3, "max_layers": 1, "max_redundant": 2}
ROUNDING = 1 + 1e-9


def least_feasible(problem):
    """Return the least objective over all placements without violations, None if there is none."""
    best = None
    for row in all_rows(problem):
        placement = Placement(
            np.array([slot_row(problem, row)] * problem.num_layers, np.int32),
            problem.rank_of_slot,
            problem.num_experts,
            problem.num_ranks,
            problem.workload.layer_ids,
        )
        if not violations(problem, placement):
            value = evaluate(problem, placement).objective
            best = value if best is None else min(best, value)
    return best


def check_optimal(problem, solver, least):
    """Solve; compare value, bound and claim with the known optimum."""
    solved = load_solver(solver)(problem, Run(), None)
    assert violations(problem, solved.placement) == []
    value = evaluate(problem, solved.placement).objective
    where = (solver, problem.objective, problem.dedup, problem.num_experts, problem.redundant)
    assert value == pytest.approx(least, rel=1e-6), where
    assert solved.optimal, where
    assert solved.lower_bound <= least * ROUNDING, where
    assert solved.lower_bound >= least * (1 - 2e-6), where


@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.parametrize("solver", EXACT)
def test_optimum_of_every_objective(solver, objective):
    """All dedup modes, fabrics, tiles and replicas: what is proven is what enumeration finds."""
    for seed in range(5):
        problem = random_problem(
            np.random.default_rng(seed), objective=objective, dispatch="even", **SMALL
        )
        check_optimal(problem, solver, optimum(problem)[objective][0])


@pytest.mark.slow
@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.parametrize("solver", EXACT)
def test_optimum_of_every_objective_on_more_instances(solver, objective):
    """The same on more and larger ones."""
    for seed in range(100, 140):
        problem = random_problem(
            np.random.default_rng(seed),
            objective=objective,
            dispatch="even",
            **{**SMALL, "max_redundant": 3},
        )
        check_optimal(problem, solver, optimum(problem)[objective][0])


def partition(seed, slots=3, **fixed):
    """Return a problem without replicas, of three ranks and five or six experts."""
    rng = np.random.default_rng(seed)
    options = {"max_redundant": 0, "dispatch": "even", **fixed}
    while True:
        problem = random_problem(rng, max_experts=6, max_ranks=3, max_layers=1, **options)
        if problem.num_ranks == 3 and problem.num_experts >= 5:
            return problem.replace(slots_per_rank=slots)


@pytest.mark.parametrize("solver", EXACT)
def test_load_cap(solver):
    """No rank above the limit, though fewer copies could be had."""
    tight = 0
    for seed in range(4):
        problem = partition(seed, objective="copies", dedup="rank")
        free = optimum(problem)["copies"][0]
        for cap in (1.1, 1.3, 1.6, 2.0):
            capped = problem.replace(max_load=cap)
            if (least := least_feasible(capped)) is not None:
                check_optimal(capped, solver, least)
                tight += least > free * ROUNDING
                break
    assert tight


@pytest.mark.parametrize("solver", EXACT)
def test_cap_and_price_of_moves(solver):
    """At most so many replicas move; where moves cost time, only those that pay are made."""
    for seed, objective in enumerate(("balance", "time", "copies", "time")):
        problem = partition(seed, objective=objective)
        current = Placement.from_rank_of_expert(
            [np.random.default_rng(seed).permutation(problem.num_experts) % 3], num_ranks=3
        )
        if seed < 3:
            problem = problem.replace(current=current, max_moves=1 + seed)
        else:
            price = evaluate(problem, current).objective / problem.expert_bytes * 1e9 * 1e6 * 0.05
            problem = problem.replace(current=current, move_price_us_per_GB=price)
        check_optimal(problem, solver, least_feasible(problem))


@pytest.mark.parametrize("solver", EXACT)
def test_groups_on_nodes(solver):
    """Experts of a group share a node, replicas too."""
    for seed, objective in enumerate(("balance", "copies", "time")):
        rng = np.random.default_rng(seed)
        while True:
            problem = random_problem(
                rng, max_experts=4, max_layers=1, max_redundant=2, max_ranks=4,
                objective=objective, dispatch="even",
            )  # fmt: skip
            if problem.num_experts == 4:
                break
        model = problem.model.replace(n_group=2, topk_group=2)
        redundant = min(problem.redundant, 2)
        problem = problem.replace(
            model=model, groups_on_nodes=True, system=tiny_cluster(4, 2), redundant=redundant,
            slots_per_rank=2, dedup_choice="rank",
        )  # fmt: skip
        least = least_feasible(problem)
        assert least is not None
        check_optimal(problem, solver, least)


@pytest.mark.parametrize("risk", ["max", "mean", "cvar"])
@pytest.mark.parametrize("solver", EXACT)
def test_robust_over_workloads(solver, risk):
    """One placement for several workloads: the measure of their objectives is least."""
    for seed, objective in enumerate(("balance", "copies", "time")):
        problem = partition(seed, objective=objective)
        others = []
        for shift in (1, 2):
            load = np.roll(problem.workload.load, shift, axis=1)
            sets = problem.workload.token_sets
            if sets is not None:
                ids = np.where(
                    sets[0].ids >= 0, (sets[0].ids + shift) % problem.num_experts, -1
                ).astype(np.int32)
                sets = (type(sets[0])(ids, sets[0].weight),)
            others.append(
                problem.replace(workload=problem.workload.replace(load=load, token_sets=sets))
            )
        robust = make_robust([problem, *others], risk=risk, tail=0.5)
        check_optimal(robust, solver, least_feasible(robust))


@pytest.mark.parametrize("solver", EXACT)
def test_layers_under_one_risk(solver):
    """The worst case over workloads couples the layers; they are decided together."""
    problem = partition(3, objective="balance", slots=2)
    two = problem.model.replace(num_layers=2, moe_layers=(0, 1))
    load = np.random.default_rng(0).integers(1, 30, (2, 2, problem.num_experts)).astype(float)
    scenarios = [
        problem.replace(
            model=two,
            workload=problem.workload.replace(
                load=one, layer_ids=(0, 1), token_sets=None, token_sets_kind=None
            ),
            dedup_choice="none",
        )
        for one in load
    ]
    robust = make_robust(scenarios, "max")
    rows = [slot_row(problem, row) for row in all_rows(problem)]
    values = np.array(
        [[evaluate(s, s_placement(s, row)).layer_objective for s in scenarios] for row in rows]
    )  # (rows, scenarios, layers)
    pairs = values[:, None, :, 0] + values[None, :, :, 1]  # (first row, second row, scenarios)
    least = float(pairs.max(axis=2).min())
    check_optimal(robust, solver, least)


def s_placement(problem, row):
    """Return the placement with one row in every layer."""
    return Placement(
        np.array([row] * problem.num_layers, np.int32),
        problem.rank_of_slot,
        problem.num_experts,
        problem.num_ranks,
        problem.workload.layer_ids,
    )


@pytest.mark.parametrize("solver", EXACT)
def test_what_no_placement_keeps_is_said_so(solver):
    """A limit that cannot be kept is proven impossible."""
    problem = partition(0, objective="balance").replace(max_load=1.0)
    load = np.array([[9.0, 1, 1, 1, 1, 1]])[:, : problem.num_experts]
    problem = problem.replace(workload=problem.workload.replace(load=load))
    with pytest.raises(InfeasibleError, match="no placement"):
        load_solver(solver)(problem, Run(), None)


@pytest.mark.parametrize("solver", EXACT)
def test_what_is_not_modelled_is_refused(solver):
    """Policies that do not split evenly, and coupled layers, are named."""
    problem = partition(0, objective="time")
    with pytest.raises(InputError, match="nearest"):
        load_solver(solver)(problem.replace(dispatch="nearest", redundant=2), Run(), None)
    with pytest.raises(InputError, match="cover"):
        load_solver(solver)(problem.replace(dispatch="cover"), Run(), None)
    with pytest.raises(InputError, match="stay"):
        load_solver(solver)(problem.replace(execution="stay"), Run(), None)
