from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moeplace.errors import InfeasibleError, InputError
from moeplace.placement.formats import export_placement, fill_empty_slots, pad_slots, read_placement
from moeplace.placement.placement import Placement


@pytest.fixture
def gaps():
    """Return two ranks with three slots each, one empty slot on either."""
    return Placement(np.array([[0, 1, -1, 2, -1, 3]]), np.repeat([0, 1], 3), 4, 2, (5,))


def test_without_loads_the_fewest_replicas_then_the_lowest_id(gaps):
    """Rank 0 lacks 2 and 3 and takes 2; rank 1 lacks 0 and 1 and takes 0."""
    assert fill_empty_slots(gaps).expert_of_slot.tolist() == [[0, 1, 2, 2, 0, 3]]


def test_the_fullest_rank_gains_least(gaps):
    """With loads 1, 9, 2, 8 on ranks of 10 each, the light experts are copied and not the heavy."""
    filled = fill_empty_slots(gaps, [[1, 9, 2, 8]])
    assert filled.expert_of_slot.tolist() == [[0, 1, 2, 2, 0, 3]]


def test_filling_a_balanced_layer_keeps_it_balanced():
    """The rank with one heavy expert and an empty slot gets a light copy, no second heavy one."""
    placement = Placement(np.array([[0, -1, 1, 2]]), np.repeat([0, 1], 2), 3, 2)
    filled = fill_empty_slots(placement, [[10, 9, 1]])
    assert filled.expert_of_slot.tolist() == [[0, 2, 1, 2]]


def test_a_copy_halves_the_load():
    """After expert 0 (load 10) got a second copy, expert 1 (load 6) is the heavier one."""
    placement = Placement(np.array([[0, 1, 2, -1, 3, -1]]), np.arange(6) // 2, 4, 3)
    filled = fill_empty_slots(placement, [[10, 6, 1, 1]])
    assert filled.expert_of_slot.tolist() == [[0, 1, 2, 0, 3, 1]]


def test_zero_loads_spread():
    """Without any load the copies go to different experts."""
    placement = Placement(np.array([[0, -1, 1, -1]]), np.repeat([0, 1], 2), 2, 2)
    assert fill_empty_slots(placement, [[0, 0]]).expert_of_slot.tolist() == [[0, 1, 1, 0]]


def test_unequal_ranks_are_padded_first():
    """Every rank gets the slots of the largest; slots that were there keep their order."""
    placement = Placement(np.array([[3, 0, 1, 2]]), np.array([0, 1, 1, 1]), 4, 2)
    assert pad_slots(placement).expert_of_slot.tolist() == [[3, -1, -1, 0, 1, 2]]
    filled = fill_empty_slots(placement)
    assert filled.expert_of_slot.tolist() == [[3, 0, 1, 0, 1, 2]]
    assert filled.slots_per_rank.tolist() == [3, 3]


def test_a_rank_without_slots_is_padded():
    """A rank that had no slot at all gets as many as the others."""
    placement = Placement(np.array([[0, 1]]), np.array([0, 2]), 2, 3)
    assert pad_slots(placement).expert_of_slot.tolist() == [[0, -1, 1]]


def test_level_stops_at_the_fullest_rank(gaps):
    """With level, a layer whose ranks hold two experts each stays as it is."""
    assert np.array_equal(fill_empty_slots(gaps, level=True).expert_of_slot, gaps.expert_of_slot)


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_laws(data):
    """Filling keeps occupied slots, leaves none empty, makes no duplicate and is repeatable."""
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    experts, ranks = data.draw(st.integers(2, 9)), data.draw(st.integers(1, 4))
    owner = rng.integers(ranks, size=(3, experts))
    placement = Placement.from_rank_of_expert(owner, num_ranks=ranks)
    load = rng.integers(0, 5, size=(3, experts)) if data.draw(st.booleans()) else None
    filled = fill_empty_slots(placement, load)
    occupied = placement.expert_of_slot >= 0
    assert np.array_equal(filled.expert_of_slot[occupied], placement.expert_of_slot[occupied])
    assert (filled.expert_of_slot >= 0).all()
    assert not filled.duplicates().any()
    again = fill_empty_slots(placement, load)
    assert np.array_equal(again.expert_of_slot, filled.expert_of_slot)


def test_more_slots_than_experts():
    """A rank with more slots than experts cannot be filled without a second copy."""
    placement = Placement(np.array([[0, 1, -1]]), np.zeros(3, int), 2, 1)
    with pytest.raises(InfeasibleError, match="rank 0 has more slots than the 2 experts"):
        fill_empty_slots(placement)


@pytest.mark.parametrize(
    ("load", "message"),
    [([[1, 2]], "shape"), ([[1, 2, 3, -4]], "not negative"), ([[1, 2, 3, np.inf]], "finite")],
)
def test_wrong_loads(gaps, load, message):
    """Loads of another shape, negative or infinite ones are refused."""
    with pytest.raises(InputError, match=message):
        fill_empty_slots(gaps, load)


def test_missing_expert(gaps):
    """Filling adds copies only; an expert without a slot is an error."""
    placement = gaps.replace(expert_of_slot=np.array([[0, 1, -1, 2, -1, 2]]))
    with pytest.raises(InputError, match="expert 3 has no slot in row 0"):
        fill_empty_slots(placement)


def test_export_fills_and_says_so(tmp_path, make_model, gaps):
    """Export uses the loads, reports two filled slots and what it wrote."""
    path = tmp_path / "m.json"
    model = make_model(6, (5,), 4)
    report = export_placement(gaps, path, "sglang", model=model, load=[[1, 9, 2, 8]])
    back = read_placement(path, model=model, num_ranks=2)
    assert report.filled_slots == 2
    assert back.expert_of_slot.tolist() == [[0, 1, 2, 2, 0, 3]]
    assert np.array_equal(report.placement.expert_of_slot, back.expert_of_slot)
    assert "2 empty slots were filled" in report.notes[0]


def test_export_takes_loads_of_the_same_rows(tmp_path, make_model):
    """Loads with dense rows follow the rows of the placement when dense rows are left out."""
    table = np.array([[0, 1, -1, 2, -1, 3]] * 2)
    placement = Placement(table, np.repeat([0, 1], 3), 4, 2)
    report = export_placement(
        placement,
        tmp_path / "m.json",
        "vllm-list",
        model=make_model(2, (1,), 4),
        load=[[9, 1, 1, 1], [1, 9, 2, 8]],
    )
    assert report.placement.expert_of_slot.tolist() == [[0, 1, 2, 2, 0, 3]]


def test_duplicates_are_noted(tmp_path, make_model):
    """SGLang takes two copies on a rank; the report says that one is wasted."""
    placement = Placement(np.array([[0, 1, 1, 2, 3, 3]]), np.repeat([0, 1], 3), 4, 2, (0,))
    report = export_placement(
        placement, tmp_path / "m.json", "sglang", model=make_model(1, (0,), 4)
    )
    assert any("2 slots hold a second copy" in note for note in report.notes)
