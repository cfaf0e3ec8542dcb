"""Where experts lie: derived tables, normal form, bad input, and rules of a problem."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import strategies as st

from moeplace.errors import InfeasibleError, InputError
from moeplace.placement import Placement, evaluate, make_problem, violations
from moeplace.traces import Workload
from tests.reference.instances import tiny_mesh, tiny_model
from tests.strategies import law, placed

TABLE = np.array([[2, 0, -1, 1, 2, -1], [0, 1, 2, 1, -1, -1]])
RANKS = np.array([0, 0, 0, 1, 1, 1])


def small(table=TABLE, ranks=RANKS, experts=3, num_ranks=2, layer_ids=(3, 4)) -> Placement:
    return Placement(np.array(table), np.array(ranks), experts, num_ranks, layer_ids)


def test_derived_tables():
    """Counts by rank and by expert, and slots by rank, empty ones included."""
    placement = small()
    assert (placement.num_layers, placement.num_slots) == (2, 6)
    np.testing.assert_array_equal(placement.slots_per_rank, [3, 3])
    np.testing.assert_array_equal(placement.replica_count, [[1, 1, 2], [1, 2, 1]])
    np.testing.assert_array_equal(
        placement.replicas_on_rank, [[[1, 0], [0, 1], [1, 1]], [[1, 0], [1, 1], [1, 0]]]
    )
    np.testing.assert_array_equal(placement.duplicates(), [0, 0])


def test_duplicates():
    """A second and a third copy of an expert on one rank count, on two ranks they do not."""
    table = [[0, 0, 0, 0, 1, 2], [0, 1, 1, 2, 2, 0]]
    np.testing.assert_array_equal(small(table).duplicates(), [2, 2])


def test_canonical():
    """Slots of a rank in ascending order, empty ones last; nothing moves between ranks."""
    placement = small([[2, -1, 0, -1, 1, 2], [-1, 2, 1, 0, 0, 1]])
    normal = placement.canonical()
    np.testing.assert_array_equal(
        normal.expert_of_slot, [[0, 2, -1, 1, 2, -1], [1, 2, -1, 0, 0, 1]]
    )
    np.testing.assert_array_equal(normal.canonical().expert_of_slot, normal.expert_of_slot)
    np.testing.assert_array_equal(normal.replicas_on_rank, placement.replicas_on_rank)
    assert normal.layer_ids == (3, 4)


def test_unequal_slots():
    """Ranks may have different numbers of slots, or none."""
    placement = Placement(np.array([[0, 1, 2]]), np.array([0, 0, 2]), 3, 4)
    np.testing.assert_array_equal(placement.slots_per_rank, [2, 0, 1, 0])


def test_arrays_are_frozen_copies():
    """Neither the arrays given nor those got can change a placement."""
    table = TABLE.copy()
    placement = small(table)
    table[0, 0] = 1
    assert placement.expert_of_slot[0, 0] == 2
    assert placement.expert_of_slot.dtype == placement.rank_of_slot.dtype == np.int32
    for array in (placement.expert_of_slot, placement.rank_of_slot, placement.replicas_on_rank):
        with pytest.raises(ValueError, match="read-only"):
            array[...] = 0


def test_from_rank_of_expert():
    """Each rank has as many slots as its fullest layer needs; experts lie in order."""
    placement = Placement.from_rank_of_expert(
        [[1, 0, 1, 1], [0, 0, 1, 1]], num_ranks=3, layer_ids=[5, 9]
    )
    np.testing.assert_array_equal(
        placement.expert_of_slot,
        [[1, -1, -1, 0, 2, 3, -1, -1, -1], [0, 1, -1, 2, 3, -1, -1, -1, -1]],
    )
    np.testing.assert_array_equal(placement.rank_of_slot, np.repeat([0, 1, 2], 3))
    assert placement.layer_ids == (5, 9)
    assert placement.num_experts == 4


@law(
    rank_of_expert=st.integers(1, 5).flatmap(
        lambda ranks: st.integers(1, 9).flatmap(
            lambda experts: st.tuples(
                st.just(ranks),
                st.lists(
                    st.lists(st.integers(0, ranks - 1), min_size=experts, max_size=experts),
                    min_size=1,
                    max_size=3,
                ),
            )
        )
    )
)
def test_from_rank_of_expert_reads_back(rank_of_expert):
    """Every expert lies once, on the rank asked for."""
    ranks, wanted = rank_of_expert
    placement = Placement.from_rank_of_expert(wanted, num_ranks=ranks)
    assert (placement.replica_count == 1).all()
    np.testing.assert_array_equal(placement.replicas_on_rank.argmax(axis=2), wanted)


@law(instance=placed(duplicates=True))
def test_counts_agree(instance):
    """Replicas by rank, by expert and in slots are the same replicas."""
    _, placement = instance
    occupied = (placement.expert_of_slot >= 0).sum(axis=1)
    np.testing.assert_array_equal(placement.replica_count.sum(axis=1), occupied)
    np.testing.assert_array_equal(
        placement.duplicates(), occupied - (placement.replicas_on_rank > 0).sum(axis=(1, 2))
    )
    np.testing.assert_array_equal(
        placement.canonical().replicas_on_rank, placement.replicas_on_rank
    )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"table": [[0, 3, 1, 2, 0, 1]]}, "expert 3 in row 0, slot 1.*0..2"),
        ({"table": [[0, 1, 2, -2, 0, 1]]}, "expert -2 in row 0, slot 3"),
        ({"table": [[0, 1, 2, 0, 1]]}, "5 slots a layer.*6"),
        ({"table": [0, 1, 2, 0, 1, 2]}, "2 dimension"),
        ({"table": [[0.5, 1, 2, 0, 1, 2]]}, "integer array"),
        ({"ranks": [0, 0, 0, 1, 1, 2]}, "0..1"),
        ({"ranks": [-1, 0, 0, 1, 1, 1]}, "0..1"),
        ({"ranks": [0, 1, 0, 1, 0, 1]}, "consecutive"),
        ({"layer_ids": (1,)}, "1 layer ids for 2 rows"),
    ],
)
def test_bad_tables(changes, message):
    """A table that cannot be a placement is refused with the row and the slot."""
    with pytest.raises(InputError, match=message):
        small(**changes)


@pytest.mark.parametrize(
    "ranks", [[[0, 1, 2]], [[0, -1, 1]], [0, 1], [[0.0, 1.0]], [[True, False]]]
)
def test_bad_ranks_of_experts(ranks):
    """Ranks out of range, of another shape or not whole are refused."""
    with pytest.raises(InputError, match="rank_of_expert"):
        Placement.from_rank_of_expert(ranks, num_ranks=2)


@pytest.fixture(scope="module")
def problem():
    """Return 2 layers of 3 experts on 2 ranks with 2 slots, one redundant expert."""
    return make_problem(
        tiny_model(3, 1, 2), tiny_mesh(1, 2), Workload.from_loads([[1.0, 2, 3]] * 2), redundant=1
    )


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ([[0, 1, 2, 0], [0, 1, 2, 2]], "layer 1: expert 2 has 2 replicas on rank 1"),
        ([[0, 1, 2, 0], [0, 1, 0, 1]], "layer 1: expert 2 has no replica"),
    ],
)
def test_violations(problem, table, message):
    """Every broken rule is a line that names layer, expert and rank."""
    placement = Placement(np.array(table), problem.rank_of_slot, 3, 2)
    assert [line for line in violations(problem, placement) if message in line]
    good = placement.replace(expert_of_slot=np.array([[0, 1, 2, 0], [0, 1, -1, 2]]))
    assert violations(problem, good) == []


def test_violations_of_limits(problem):
    """More replicas than allowed, and more on a rank than it has slots for."""
    wide = np.array([0, 0, 0, 1, 1, 1])
    full = Placement(np.array([[0, 1, 2, 0, 1, -1], [0, 1, -1, 2, -1, -1]]), wide, 3, 2)
    lines = violations(problem, full)
    assert len(lines) == 2
    assert "layer 0: 5 replicas, at most 4" in lines[0]
    assert "layer 0: rank 0 holds 3 experts, it has 2 slots" in lines[1]
    other = Placement(np.array([[0, 1, 2, -1]]), problem.rank_of_slot, 3, 2)
    assert "shape" in violations(problem, other)[0]


def test_what_cannot_be_scored(problem):
    """Another shape, other layers or an expert without a replica: no score."""
    with pytest.raises(InfeasibleError, match="expert 2 has no replica in row 1"):
        evaluate(
            problem, Placement(np.array([[0, 1, 2, 0], [0, 1, 0, 1]]), problem.rank_of_slot, 3, 2)
        )
    with pytest.raises(InputError, match=r"\(1, 3, 2\)"):
        evaluate(problem, Placement(np.array([[0, 1, 2, -1]]), problem.rank_of_slot, 3, 2))
    table = np.array([[0, 1, 2, -1]] * 2)
    with pytest.raises(InputError, match="row 1 is layer 7"):
        evaluate(problem, Placement(table, problem.rank_of_slot, 3, 2, (0, 7)))
