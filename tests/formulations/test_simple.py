from __future__ import annotations

import numpy as np
import pytest

from moeplace.formulations.heuristics.simple import contiguous, random, round_robin
from moeplace.formulations.solver import Run
from moeplace.placement import violations


def ranks_of(placement):
    """Experts of each rank in the first layer."""
    table, rank = placement.expert_of_slot[0], placement.rank_of_slot
    return [table[(rank == r) & (table >= 0)].tolist() for r in range(placement.num_ranks)]


def test_contiguous_is_in_order(make_tiny):
    """Experts in order, the first ranks hold one more."""
    problem = make_tiny(np.ones((2, 10)), 4)
    assert ranks_of(contiguous(problem, Run(), None).placement) == [
        [0, 1, 2], [3, 4, 5], [6, 7], [8, 9],
    ]  # fmt: skip


def test_contiguous_repeats_the_first_experts_in_redundant_slots(make_tiny):
    """Redundant slots hold experts 0, 1, … again, as in the engines' initial map."""
    problem = make_tiny(np.ones((1, 6)), 4, redundant=2)
    assert ranks_of(contiguous(problem, Run(), None).placement) == [[0, 1], [2, 3], [4, 5], [0, 1]]


def test_round_robin_deals_experts_out(make_tiny):
    """Expert e lies on rank e mod R, redundant slots stay empty."""
    problem = make_tiny(np.ones((1, 7)), 3, redundant=5)
    assert ranks_of(round_robin(problem, Run(), None).placement) == [[0, 3, 6], [1, 4], [2, 5]]


def test_random_is_seeded_and_differs_between_layers(make_tiny):
    """Same seed same placement; layers are permuted independently; counts are equal."""
    problem = make_tiny(np.ones((3, 32)), 4)
    first = random(problem, Run(seed=5), None).placement.expert_of_slot
    assert (first == random(problem, Run(seed=5), None).placement.expert_of_slot).all()
    assert (first != random(problem, Run(seed=6), None).placement.expert_of_slot).any()
    assert (first[0] != first[1]).any()


@pytest.mark.parametrize("solver", [contiguous, round_robin, random])
@pytest.mark.parametrize(
    ("experts", "ranks", "redundant", "slots"),
    [
        (8, 4, 0, None),
        (9, 4, 0, None),
        (5, 5, 20, None),
        (3, 7, 0, None),
        (6, 4, 7, 2),
        (6, 1, 0, 9),
    ],
)
def test_baselines_are_always_feasible(make_tiny, solver, experts, ranks, redundant, slots):
    """No baseline breaks a rule, whatever the shape."""
    problem = make_tiny(np.ones((2, experts)), ranks, redundant=redundant, slots_per_rank=slots)
    assert violations(problem, solver(problem, Run(), None).placement) == []
