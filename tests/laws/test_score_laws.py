"""What must hold for the score of any placement of any instance."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import strategies as st

from moeplace.placement import Placement, evaluate
from moeplace.traces import TokenSets
from tests.reference.instances import DISPATCHES, OBJECTIVES, workload_of_sets
from tests.strategies import clusters, law, meshes, placed, scalars, systems, token_sets

if TYPE_CHECKING:
    from moeplace.placement import Problem, Score

EXACT = {"rel": 1e-9, "abs": 0}
SLACK = 1 + 1e-9
several = systems(min_ranks=2)
BLIND = [policy for policy in DISPATCHES if policy != "cover"]  # look at no token
FIXED = ("even", "nearest", "rank_modulo")  # do not adapt to the loads


def scores(instance: tuple[Problem, Placement], **changes) -> Score:
    """Return the score of an instance with some of the problem's choices changed."""
    problem, placement = instance
    if "dedup" in changes:
        changes["dedup_choice"] = changes.pop("dedup")
    return evaluate(problem.replace(**changes), placement)


@law(instance=placed(duplicates=True))
def test_deterministic(instance):
    """The same instance scores the same, bit by bit."""
    first, second = scores(instance), scores(instance)
    assert first.to_dict() == second.to_dict()
    np.testing.assert_array_equal(first.link_bytes, second.link_bytes)


@law(instance=placed(duplicates=True))
def test_traffic_is_conserved(instance):
    """Every (token, expert) pair is served once, and hops are crossings of links."""
    problem, _ = instance
    score = scores(instance)
    pairs = problem.tokens * problem.top_k
    assert score.rank_load.sum(axis=1) == pytest.approx(pairs)
    dispatch_bytes, _ = problem.system.copy_bytes(problem.model.payload_size)
    assert score.link_bytes.sum(axis=1) / dispatch_bytes == pytest.approx(score.layer_hops)
    tokens = problem.tokens * problem.num_layers
    assert score.layer_copies.sum() == pytest.approx(score.copies_per_token * tokens)
    assert score.layer_hops.sum() == pytest.approx(score.hops_per_token * tokens)


@law(instance=placed(duplicates=True))
def test_terms_add_up(instance):
    """A layer's time is the sum of its terms, the slowest rank counts, layers add up."""
    score = scores(instance)
    terms = score.layer_dispatch_s + score.layer_compute_s + score.layer_combine_s
    assert score.layer_time_s == pytest.approx(terms)
    assert score.layer_compute_s == pytest.approx(score.rank_compute_s.max(axis=1))
    assert score.step_time_s == pytest.approx(score.layer_time_s.sum())
    means = score.rank_load.mean(axis=1) / score.rank_load.max(axis=1)
    assert score.balancedness == pytest.approx(means.mean())
    assert 0 < score.balancedness <= SLACK


@law(instance=placed())
def test_objectives(instance):
    """The objective is the quantity its name says, whatever else is asked for."""
    score = scores(instance)
    by_name = {
        "time": score.layer_time_s,
        "balance": score.rank_load.max(axis=1),
        "copies": score.layer_copies,
        "hops": score.layer_hops,
    }
    for name in OBJECTIVES:
        named = scores(instance, objective=name)
        assert named.objective_name == name
        assert named.layer_objective == pytest.approx(by_name[name])
        assert named.objective == pytest.approx(by_name[name].sum())


@law(instance=placed())
def test_layers_are_independent(instance):
    """A step costs the sum of its layers placed alone."""
    problem, placement = instance
    whole = evaluate(problem, placement)
    alone = []
    for layer in range(problem.num_layers):
        one = problem.replace(workload=problem.workload.select_layers([layer]))
        rows = placement.replace(
            expert_of_slot=placement.expert_of_slot[[layer]],
            layer_ids=one.workload.layer_ids,
        )
        alone.append(evaluate(one, rows).objective)
    assert whole.layer_objective == pytest.approx(np.array(alone))
    assert whole.objective == pytest.approx(sum(alone))


@law(
    instance=placed(system=several),
    faster=st.tuples(*[st.sampled_from([1.0, 1.5, 8.0])] * 4),
)
def test_a_faster_system_is_not_slower(instance, faster):
    """More bandwidth, memory bandwidth or arithmetic never costs time."""
    problem, _ = instance
    system = problem.system
    link, nic, memory, peak = faster
    better = system.replace(
        link_GBps=system.link_GBps * link,
        nic_GBps=system.nic_GBps * nic,
        hbm_GBps=system.hbm_GBps * memory,
        peak_tflops={name: value * peak for name, value in system.peak_tflops.items()},
    )
    before, after = scores(instance), scores(instance, system=better)
    for name in ("layer_dispatch_s", "layer_combine_s", "rank_compute_s"):
        assert (getattr(after, name) <= getattr(before, name) * SLACK).all(), name
    assert (after.layer_copies == before.layer_copies).all()


@law(instance=placed(system=several))
def test_deduplication_saves_copies(instance):
    """One copy per rank never loads a link more than one per expert, a tree never more still."""
    none, rank, tree = (scores(instance, dedup=mode) for mode in ("none", "rank", "multicast"))
    for fewer, more in ((rank, none), (tree, rank)):
        assert (fewer.link_bytes <= more.link_bytes * SLACK).all()
        assert (fewer.layer_hops <= more.layer_hops * SLACK).all()
    assert (rank.layer_copies <= none.layer_copies * SLACK).all()


@law(instance=placed(system=clusters(min_ranks=3)))
def test_two_stages_relieve_the_nic(instance):
    """One copy per node crosses the NICs no more often than one per rank."""
    problem, _ = instance
    nic = [name.startswith("nic") for name in problem.system.topology.link_names]
    node, rank = (scores(instance, dedup=mode).link_bytes[:, nic] for mode in ("node", "rank"))
    assert (node.sum(axis=1) <= rank.sum(axis=1) * SLACK).all()


@law(instance=placed(system=meshes()))
def test_one_node_needs_one_stage(instance):
    """In one node the two-stage kernel is the one-stage kernel."""
    node, rank = (scores(instance, dedup=mode) for mode in ("node", "rank"))
    assert scalars(node) == pytest.approx(scalars(rank), **EXACT)


@law(instance=placed(dispatch="even", dedup="rank", duplicates=True))
def test_copies_are_connectivity(instance):
    """Under an even split copies = T · λ · (1 − 1/R), with 1 ≤ λ ≤ min(top_k, R)."""
    problem, _ = instance
    score = scores(instance)
    ranks = problem.num_ranks
    assert score.copies_per_token == pytest.approx(score.ranks_per_token * (1 - 1 / ranks))
    assert 1 / SLACK <= score.ranks_per_token <= min(problem.top_k, ranks) * SLACK


@law(instance=placed(redundant=0))
def test_policies_agree_without_replicas(instance):
    """Where every expert lies once there is nothing to choose."""
    even, nearest, modulo = (
        scores(instance, dispatch=name) for name in ("even", "nearest", "rank_modulo")
    )
    assert scalars(nearest) == pytest.approx(scalars(even), **EXACT)
    assert scalars(modulo) == pytest.approx(scalars(even), **EXACT)


@law(instance=placed(system=several, dedup="none"))
def test_nearest_sends_fewest(instance):
    """Without de-duplication no policy sends fewer copies than the nearest replica's."""
    nearest, even, modulo = (
        scores(instance, dispatch=name) for name in ("nearest", "even", "rank_modulo")
    )
    assert (nearest.layer_copies <= even.layer_copies * SLACK).all()
    assert (nearest.layer_copies <= modulo.layer_copies * SLACK).all()


@law(instance=placed(dispatch="nearest"))
def test_every_expert_everywhere(instance):
    """With every expert on every rank the nearest replica is at home: nothing is sent."""
    problem, placement = instance
    table = np.tile(np.arange(problem.num_experts, dtype=np.int32), problem.num_ranks)
    full = Placement(
        np.tile(table, (problem.num_layers, 1)),
        np.repeat(np.arange(problem.num_ranks, dtype=np.int32), problem.num_experts),
        problem.num_experts,
        problem.num_ranks,
        placement.layer_ids,
    )
    score = evaluate(problem, full)
    assert score.copies_per_token == score.hops_per_token == score.max_link_bytes == 0
    assert score.balancedness == pytest.approx(1)


@law(instance=placed(system=systems(max_ranks=1)))
def test_one_rank_sends_nothing(instance):
    """Where there is one rank every copy is at home."""
    score = scores(instance)
    assert score.copies_per_token == score.hops_per_token == 0
    assert score.ranks_per_token == pytest.approx(1)
    assert score.balancedness == pytest.approx(1)


@law(instance=placed(), factor=st.sampled_from([1e-3, 0.5, 3.0, 1e6]))
def test_only_shares_matter(instance, factor):
    """Loads and weights in another unit give the same score."""
    problem, placement = instance
    workload = problem.workload
    scaled = workload.replace(
        load=workload.load * factor,
        token_sets=tuple(TokenSets(s.ids, s.weight * factor) for s in workload.token_sets),
    )
    other = evaluate(problem.replace(workload=scaled), placement)
    assert scalars(other) == pytest.approx(scalars(evaluate(problem, placement)), **EXACT)


@law(instance=placed(dedup="none", dispatch=st.sampled_from(BLIND), duplicates=True))
def test_loads_are_enough_without_deduplication(instance):
    """With one copy per expert a workload known by its loads alone scores the same."""
    problem, placement = instance
    bare = problem.workload.replace(token_sets=None, token_sets_kind=None)
    known, unknown = (
        evaluate(problem, placement),
        evaluate(problem.replace(workload=bare), placement),
    )
    assert unknown.ranks_per_token is None
    assert known.ranks_per_token is not None
    left, right = scalars(known), scalars(unknown)
    del left["ranks_per_token"]
    assert left == right
    np.testing.assert_array_equal(known.link_bytes, unknown.link_bytes)


@law(instance=placed(max_layers=1, dispatch=st.sampled_from(FIXED)), data=st.data())
def test_mixed_workloads(instance, data):
    """Counts of a mixture are the mixture of the counts; the fullest rank is no fuller."""
    problem, placement = instance
    experts, (first,) = problem.num_experts, problem.workload.token_sets
    second = data.draw(token_sets(experts, problem.top_k))
    both = TokenSets(
        np.concatenate([first.ids, second.ids]), np.concatenate([first.weight, second.weight])
    )
    a, b, mixed = (
        evaluate(problem.replace(workload=workload_of_sets([sets], experts)), placement)
        for sets in (first, second, both)
    )
    part = first.total_weight / both.total_weight
    for name in ("rank_load", "link_bytes", "layer_copies", "layer_hops", "ranks_per_token"):
        expected = part * getattr(a, name) + (1 - part) * getattr(b, name)
        assert getattr(mixed, name) == pytest.approx(expected), name
    fullest = part * a.rank_load.max() + (1 - part) * b.rank_load.max()
    assert mixed.rank_load.max() <= fullest * SLACK


@law(instance=placed(), more=st.sampled_from([2, 3, 10]))
def test_more_tokens(instance, more):
    """Counts grow with the tokens; time grows no faster, and never falls."""
    problem, _ = instance
    few, many = scores(instance), scores(instance, tokens_per_rank=problem.tokens_per_rank * more)
    assert many.rank_load == pytest.approx(few.rank_load * more)
    assert many.link_bytes == pytest.approx(few.link_bytes * more)
    assert many.copies_per_token == pytest.approx(few.copies_per_token)
    assert few.step_time_s / SLACK <= many.step_time_s <= few.step_time_s * more * SLACK


@law(instance=placed(min_experts=2, system=several), data=st.data())
def test_idle_experts_cost_nothing(instance, data):
    """Where an expert without load lies, and how often, changes no term of the time."""
    problem, placement = instance
    layer = data.draw(st.integers(0, problem.num_layers - 1))
    idle = np.flatnonzero(problem.workload.load[layer] == 0)
    empty = np.flatnonzero(placement.expert_of_slot[layer] < 0)
    if not (idle.size and empty.size):
        return
    table = placement.expert_of_slot.copy()
    table[layer, data.draw(st.sampled_from(list(empty)))] = data.draw(st.sampled_from(list(idle)))
    before, after = (
        evaluate(problem, placement),
        evaluate(problem, placement.replace(expert_of_slot=table)),
    )
    left, right = scalars(before), scalars(after)
    del left["memory_GiB_per_rank"], right["memory_GiB_per_rank"]
    assert left == pytest.approx(right, **EXACT)
