from __future__ import annotations

import numpy as np
import pytest

from moeplace.formulations.heuristics.layer_search import layer_task, run_task, search_terms
from moeplace.formulations.heuristics.portfolio import (
    _also_from,
    _balanced,
    _unevenness,
    auto,
    without_duplicates,
)
from moeplace.formulations.heuristics.simple import contiguous
from moeplace.formulations.solver import Run, Solved
from moeplace.hwmodels import System
from moeplace.models import ModelSpec
from moeplace.parallel import Workers
from moeplace.placement import OBJECTIVES, Placement, Problem, evaluate, make_problem, violations
from moeplace.traces import RoutingTrace, Workload

MODEL = ModelSpec(
    name="tiny",
    num_layers=2,
    moe_layers=(0, 1),
    num_experts=12,
    top_k=3,
    hidden_size=64,
    moe_intermediate_size=32,
)


def system(kind: str) -> System:
    constants = {
        "link_GBps": 2.0,
        "hbm_GBps": 20.0,
        "hbm_GB": 1.0,
        "peak_tflops": {"bf16": 0.02},
        "tile_tokens": 4,
        "link_latency_us": 0.5,
    }
    if kind == "mesh":
        return System("m", "mesh", "", 6, rows=2, columns=3, **constants)
    return System("c", "cluster", "", 6, node_size=4, nic_GBps=0.5, nic_latency_us=2.0, **constants)


def problem(kind: str, dedup: str, objective: str, redundant: int) -> Problem:
    rng = np.random.default_rng(5)
    popularity = 0.9 * rng.dirichlet(np.full(12, 0.7), size=2) + 0.1 / 12
    ids = np.array([[rng.choice(12, 3, replace=False, p=p) for p in popularity] for _ in range(80)])
    workload = Workload.from_trace(RoutingTrace.from_arrays(ids, num_experts=12))
    return make_problem(
        MODEL,
        system(kind),
        workload,
        redundant,
        objective,
        dedup,
        tokens_per_rank=50,
        slots_per_rank=3,
    )


@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.parametrize("dedup", ["none", "rank", "node", "multicast"])
@pytest.mark.parametrize("kind", ["mesh", "cluster"])
def test_incremental_value_is_the_evaluated_objective(kind, dedup, objective):
    """The search's running objective equals evaluate() up to the constants it leaves out."""
    p = problem(kind, dedup, objective, redundant=4)
    start = contiguous(p, Run(), None).placement
    assert start is not None
    table = without_duplicates(p, start).expert_of_slot
    terms = search_terms(p)
    for layer in range(2):
        task = layer_task(p, terms, layer, table[layer], seed=1, passes=4, max_tries=400)
        descent = run_task(task)
        assert descent is not None
        rows = table.copy()
        rows[layer] = descent.row
        after = Placement(rows, p.rank_of_slot, 12, 6, p.workload.layer_ids)
        assert not violations(p, after)
        score = evaluate(p, after)
        constant = 0.0
        if objective == "time":
            constant = p.compute_constants[0] + 2 * float(p.plan.uniform_latency_s.max())
        assert descent.value == pytest.approx(score.layer_objective[layer] - constant, rel=1e-9)
        assert descent.tries > 0


def test_descent_finds_the_planted_clusters():
    """Experts that always fire together end up together when copies are what counts."""
    rng = np.random.default_rng(0)
    clusters = rng.permutation(12).reshape(4, 3)
    ids = clusters[rng.integers(4, size=(200, 2))]
    workload = Workload.from_trace(RoutingTrace.from_arrays(ids, num_experts=12))
    mesh = system("mesh").replace(rows=2, columns=2, ranks=4)
    p = make_problem(MODEL, mesh, workload, 0, "copies", "rank", tokens_per_rank=10)
    found = evaluate(p, auto(p, Run(), None).placement)
    assert found.ranks_per_token == pytest.approx(1.0)


def test_retires_replicas_that_cost_more_than_they_bring():
    """In a weight-bound step a redundant expert only adds weights to stream: none is kept."""
    p = problem("mesh", "none", "time", redundant=6).replace(tokens_per_rank=4)
    slow_memory = p.replace(system=p.system.replace(hbm_GBps=0.01, link_GBps=1e6))
    placement = auto(slow_memory, Run(), None).placement
    assert placement is not None
    assert (placement.replica_count.sum(axis=1) == 12).all()


@pytest.mark.parametrize("workers", [Workers(jobs=1), Workers(jobs=3), Workers(2, "loky")])
def test_the_answer_does_not_depend_on_the_workers(workers):
    """One thread, three threads and two processes find the same placement."""
    p = problem("mesh", "rank", "time", redundant=4)
    alone = auto(p, Run(workers=Workers(jobs=1)), None).placement
    shared = auto(p, Run(workers=workers), None).placement
    assert alone is not None
    assert shared is not None
    np.testing.assert_array_equal(shared.expert_of_slot, alone.expert_of_slot)


@pytest.mark.slow
def test_the_answer_of_a_dask_cluster_is_the_same():
    """A scheduler with two worker processes, as a user would have it running."""
    distributed = pytest.importorskip("distributed")
    p = problem("mesh", "rank", "time", redundant=4)
    alone = auto(p, Run(workers=Workers(jobs=1)), None).placement
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, dashboard_address=None
    ) as cluster:
        workers = Workers(engine="dask", scheduler=cluster.scheduler_address)
        shared = auto(p, Run(workers=workers), None).placement
    assert alone is not None
    assert shared is not None
    np.testing.assert_array_equal(shared.expert_of_slot, alone.expert_of_slot)


def test_of_two_equally_good_starts_the_one_with_even_replicas_is_kept() -> None:
    """Within the tie the more even loads of replicas win, without a tie the smaller value."""
    case = problem("cluster", "none", "time", 6)
    found = auto(case, Run(0, None), None)
    assert found.placement is not None
    worse = contiguous(case, Run(0, None), None).placement
    assert worse is not None
    start = _balanced(case)
    strict = _also_from(case, Run(0, None), found, start, 100.0)
    wide = _also_from(case, Run(0, None), found, start, 100.0, tie=10.0)
    assert strict.placement is not None
    assert wide.placement is not None
    before = evaluate(case, found.placement).layer_objective
    assert (evaluate(case, strict.placement).layer_objective <= before).all()
    assert (_unevenness(case, wide.placement) <= _unevenness(case, found.placement)).all()
    from_worse = _also_from(case, Run(0, None), Solved(worse), start, 100.0, tie=10.0)
    assert from_worse.placement is not None
    assert (_unevenness(case, from_worse.placement) < _unevenness(case, worse)).all()
