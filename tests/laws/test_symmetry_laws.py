"""Names and mirror images do not change a score."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import strategies as st

from moeplace.placement import Placement, evaluate
from moeplace.traces import TokenSets
from tests.reference.instances import CLUSTERS, tiny_cluster, tiny_mesh
from tests.strategies import law, meshes, permutations, placed, scalars

if TYPE_CHECKING:
    from moeplace.placement import Problem, Score

# cover breaks ties by expert ids, lp takes one of several optimal splits: neither is nameless
NAMELESS = ["even", "nearest", "rank_modulo"]
unaware = st.sampled_from(["even", "nearest"])  # rank_modulo counts in rank numbers


def assert_same(first: Score, second: Score, *names: str) -> None:
    """Compare all scalars, or those named."""
    left, right = scalars(first), scalars(second)
    assert left.keys() == right.keys()
    for name in names or [key for key in left if left[key] is not None or right[key] is not None]:
        assert left[name] == pytest.approx(right[name], rel=1e-9, abs=0), name
    if not names:
        assert first.objective == pytest.approx(second.objective, rel=1e-9, abs=0)


def move_ranks(placement: Placement, to: np.ndarray) -> Placement:
    """Return the placement with everything on rank r moved to rank ``to[r]``."""
    table = np.full_like(placement.expert_of_slot, -1)
    for rank, other in enumerate(to):
        here, there = placement.rank_of_slot == rank, placement.rank_of_slot == other
        table[:, there] = placement.expert_of_slot[:, here]
    return placement.replace(expert_of_slot=table)


def rename_experts(problem: Problem, placement: Placement, to: np.ndarray):
    """Return the instance with expert e called ``to[e]``."""
    workload = problem.workload
    load = np.empty_like(workload.load)
    load[:, to] = workload.load
    sets = tuple(TokenSets(to[s.ids], s.weight) for s in workload.token_sets)
    named = np.append(to, -1).astype(np.int32)
    return (
        problem.replace(workload=workload.replace(load=load, token_sets=sets)),
        placement.replace(expert_of_slot=named[placement.expert_of_slot]),
    )


@law(instance=placed(dispatch=st.sampled_from(NAMELESS), duplicates=True), data=st.data())
def test_experts_renamed(instance, data):
    """Expert ids are names only."""
    to = data.draw(permutations(instance[0].num_experts))
    assert_same(evaluate(*rename_experts(*instance, to)), evaluate(*instance))


@law(instance=placed(dispatch=st.sampled_from(NAMELESS), duplicates=True), data=st.data())
def test_slots_of_a_rank_reordered(instance, data):
    """Where on its rank a slot lies does not matter, not even to rank_modulo."""
    problem, placement = instance
    width = placement.num_slots // problem.num_ranks
    table = placement.expert_of_slot.reshape(problem.num_layers, problem.num_ranks, width)
    order = data.draw(permutations(width))
    shuffled = table[:, :, order].reshape(problem.num_layers, -1)
    score = evaluate(problem, placement)
    assert_same(evaluate(problem, placement.replace(expert_of_slot=shuffled)), score)
    assert_same(evaluate(problem, placement.canonical()), score)


@law(instance=placed(duplicates=True))
def test_empty_slots(instance):
    """Empty slots, on any ranks, cost nothing."""
    problem, placement = instance
    spare = np.full((problem.num_layers, 2), -1, np.int32)
    ranks = np.array([0, problem.num_ranks - 1])
    order = np.argsort(np.concatenate([placement.rank_of_slot, ranks]), kind="stable")
    wider = placement.replace(
        expert_of_slot=np.concatenate([placement.expert_of_slot, spare], axis=1)[:, order],
        rank_of_slot=np.concatenate([placement.rank_of_slot, ranks])[order],
    )
    assert_same(evaluate(problem, wider), evaluate(problem, placement))


@law(
    instance=placed(system=meshes(min_ranks=2), dispatch=unaware, duplicates=True),
    flips=st.tuples(st.booleans(), st.booleans()),
)
def test_mesh_turned_or_mirrored(instance, flips):
    """Mirrors that keep rows rows keep XY routes: left-right, up-down, and half a turn."""
    problem, placement = instance
    system = problem.system
    grid = np.arange(system.ranks).reshape(system.rows, system.columns)
    if flips[0]:
        grid = grid[::-1]
    if flips[1]:
        grid = grid[:, ::-1]
    assert_same(evaluate(problem, move_ranks(placement, grid.ravel())), evaluate(*instance))


@law(
    instance=placed(
        system=meshes(min_ranks=2), dispatch=unaware, dedup=st.sampled_from(["none", "rank"])
    )
)
def test_mesh_transposed(instance):
    """With rows as columns routes go the other way round (YX): as long, but on other links.

    So distances keep; link loads, time and multicast trees need not.
    """
    problem, placement = instance
    system = problem.system
    other = tiny_mesh(
        system.columns,
        system.rows,
        **{name: getattr(system, name) for name in ("tile_tokens", "peak_tflops", "link_GBps")},
    )
    to = np.arange(system.ranks).reshape(system.columns, system.rows).T.ravel()
    assert_same(
        evaluate(problem.replace(system=other), move_ranks(placement, to)),
        evaluate(*instance),
        "hops_per_token", "copies_per_token", "balancedness", "ranks_per_token", "compute_s",
    )  # fmt: skip


@law(
    instance=placed(
        system=st.sampled_from([c for c in CLUSTERS if c[0] % c[1] == 0]).map(
            lambda c: tiny_cluster(*c)
        ),
        dispatch=unaware,
        duplicates=True,
    ),
    data=st.data(),
)
def test_full_nodes_reordered(instance, data):
    """Full nodes, and the same places inside all of them, can change names."""
    problem, placement = instance
    size = problem.system.node_size
    nodes = data.draw(permutations(problem.num_ranks // size))
    places = data.draw(permutations(size))
    to = (nodes[:, None] * size + places[None, :]).ravel()
    assert_same(evaluate(problem, move_ranks(placement, to)), evaluate(*instance))
