"""Peers that look at consecutive layers: small cases worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from moeplace import evaluate, make_problem, solve
from moeplace.errors import InputError
from moeplace.formulations.peers.exflow import bipartition, exflow, kept_inside
from moeplace.formulations.peers.moetuner import (
    cluster_flow,
    clusters,
    moetuner,
    moetuner_load,
    seconds_per_byte,
)
from moeplace.formulations.solver import Run
from moeplace.placement import Placement
from tests.reference.chains import random_stay_problem
from tests.reference.instances import tiny_cluster, tiny_mesh, tiny_model


def planted(rng, problem, parts):
    """Return transitions that never leave hidden parts, and the part of each expert."""
    layers, experts = problem.num_layers, problem.num_experts
    part = np.stack([rng.permutation(np.arange(experts) % parts) for _ in range(layers)])
    same = part[:-1, :, None] == part[1:, None, :]
    return same * rng.uniform(1, 2, same.shape), part


def problem_of(rng, system, experts, layers, **options):
    """Return a problem of random loads with room for no replica."""
    from moeplace.traces import Workload

    load = rng.uniform(1, 2, (layers, experts))
    workload = Workload.from_loads(load, top_k=1, phase="prefill")
    return make_problem(tiny_model(experts, 1, layers), system, workload, dedup="none", **options)


def ranks_of(placement):
    """Return (layers, experts) the one rank of each expert."""
    return placement.replicas_on_rank.argmax(axis=2)


def test_exflow_finds_hidden_parts():
    """Where transitions never leave parts of equal size, none is cut, on nodes and on ranks."""
    rng = np.random.default_rng(0)
    for system, parts in ((tiny_mesh(1, 2), 2), (tiny_cluster(4, 2), 4), (tiny_cluster(4, 4), 4)):
        problem = problem_of(rng, system, 8, 5)
        follow, part = planted(rng, problem, parts)
        problem = problem.replace(workload=problem.workload.replace(transition_counts=follow))
        rank = ranks_of(exflow(problem, Run(), None).placement)
        stays = rank[:-1, :, None] == rank[1:, None, :]
        assert (follow * stays).sum() == pytest.approx(follow.sum())
        assert all((np.bincount(row) == 8 // problem.num_ranks).all() for row in rank)
        assert (part != rank).any()  # found, not given


def test_exflow_prefers_nodes_to_ranks():
    """Two hidden parts on two nodes of two ranks: no transition leaves its node."""
    rng = np.random.default_rng(1)
    problem = problem_of(rng, tiny_cluster(4, 2), 8, 4)
    follow, _ = planted(rng, problem, 2)
    problem = problem.replace(workload=problem.workload.replace(transition_counts=follow))
    node = ranks_of(exflow(problem, Run(), None).placement) // 2
    assert (follow * (node[:-1, :, None] == node[1:, None, :])).sum() == pytest.approx(follow.sum())


def test_bipartition_against_all_halves():
    """Four experts, three layers: as good as the best of 6³ halves in nearly every case."""
    from itertools import combinations, product

    rng = np.random.default_rng(2)
    everyone = np.ones((3, 4), bool)
    reached = 0
    for _ in range(20):
        follow = rng.gamma(0.4, size=(2, 4, 4))
        best = 0.0
        for halves in product(combinations(range(4), 2), repeat=3):
            first = np.zeros((3, 4), bool)
            for layer, half in enumerate(halves):
                first[layer, list(half)] = True
            best = max(best, kept_inside(follow, everyone, first))
        found = bipartition(follow, everyone, 2, rng)
        assert (found.sum(axis=1) == 2).all()
        value = kept_inside(follow, everyone, found)
        assert value <= best * (1 + 1e-12)
        reached += value >= best * (1 - 1e-12)
    assert reached >= 18


def test_moetuner_keeps_clusters_and_maps_them():
    """Stage 2 renames the clusters of stage 1 such that the planted flow stays at home."""
    rng = np.random.default_rng(3)
    problem = problem_of(rng, tiny_mesh(1, 3), 6, 4)
    found = clusters(problem)
    hidden = np.stack([rng.permutation(3) for _ in range(4)])
    home = np.take_along_axis(hidden, found, axis=1)
    follow = (home[:-1, :, None] == home[1:, None, :]) * 1.0
    problem = problem.replace(workload=problem.workload.replace(transition_counts=follow))
    rank = ranks_of(moetuner(problem, Run(), None).placement)
    alone = ranks_of(moetuner_load(problem, Run(), None).placement)
    assert (follow * (rank[:-1, :, None] == rank[1:, None, :])).sum() == follow.sum()
    assert (follow * (alone[:-1, :, None] == alone[1:, None, :])).sum() < follow.sum()
    for layer in range(4):  # the same clusters, renamed
        assert len({*zip(found[layer], rank[layer], strict=True)}) == 3


def test_cluster_flow_and_bandwidths():
    """Flows add up over members; on two nodes a byte takes as long as its slowest link."""
    follow = np.arange(16.0).reshape(1, 4, 4)
    flow = cluster_flow(follow, np.array([[0, 0, 1, 1], [0, 1, 1, 0]]), 2)
    assert flow.tolist() == [[[0 + 3 + 4 + 7, 1 + 2 + 5 + 6], [8 + 11 + 12 + 15, 9 + 10 + 13 + 14]]]
    price = seconds_per_byte(problem_of(np.random.default_rng(0), tiny_cluster(4, 2), 4, 2))
    fast, nic = 2.0 * 0.9, 0.4 * 0.8
    assert price[0].tolist() == pytest.approx([0, nic / fast, 1, 1])


@pytest.mark.parametrize("solver", ["exflow", "moetuner"])
def test_they_need_transitions(solver):
    """Loads alone do not say which expert follows which."""
    problem = problem_of(np.random.default_rng(4), tiny_mesh(1, 2), 4, 2)
    with pytest.raises(InputError, match="which expert follows which"):
        solve(problem, solver)


def test_chain_is_no_worse_than_either():
    """On small chains our solver beats or meets both, on copies and on time."""
    for seed in range(8):
        for objective in ("copies", "time"):
            rng = np.random.default_rng(seed)
            problem, _ = random_stay_problem(rng, objective=objective, tokens=40)
            own = solve(problem, "chain").score.objective
            for peer in ("exflow", "moetuner"):
                placement = solve(problem, peer).placement
                assert isinstance(placement, Placement)
                assert own <= evaluate(problem, placement).objective * (1 + 0.05)
