from __future__ import annotations

import numpy as np
import pytest

from moeplace.errors import InputError, UsageError
from moeplace.traces import RoutingTrace

PAIRS = [[[0, 1], [2, 3]], [[1, 0], [3, 4]]]


def test_ids_take_the_smallest_dtype_and_cannot_be_changed():
    """Ids are packed, read-only, and the caller's array stays writable and apart."""
    given = np.array(PAIRS)
    trace = RoutingTrace.from_arrays(given, 5)
    given[0, 0, 0] = 4
    assert trace.expert_ids.dtype == np.uint8
    assert trace.expert_ids[0, 0, 0] == 0
    with pytest.raises(ValueError, match="read-only"):
        trace.expert_ids[0, 0, 0] = 1
    assert (trace.num_tokens, trace.num_layers, trace.top_k) == (2, 2, 2)


@pytest.mark.parametrize(
    ("experts", "absent", "dtype"),
    [
        (255, True, np.uint8),
        (256, False, np.uint8),
        (256, True, np.uint16),
        (257, False, np.uint16),
    ],
)
def test_dtype_leaves_room_for_the_sentinel(experts, absent, dtype):
    """256 experts fit one byte only while no id is absent."""
    ids = np.array([[[experts - 1], [0]]])
    if absent:
        ids[0, 1, 0] = -1
    trace = RoutingTrace.from_arrays(ids, experts)
    assert trace.expert_ids.dtype == dtype
    assert trace.valid.tolist() == [[[True], [not absent]]]
    assert trace.expert_ids[0, 0, 0] == experts - 1


def test_largest_unsigned_value_and_layers_of_zeros_are_absent():
    """Both ways in which engines fill dense layers count as absent."""
    filled = np.array([[[255, 255], [1, 2]], [[255, 255], [0, 1]]], dtype=np.uint8)
    zeros = np.array([[[0, 0], [1, 2]], [[0, 0], [0, 1]]])
    for ids in (filled, zeros):
        trace = RoutingTrace.from_arrays(ids, 4)
        assert trace.valid[:, 0].sum() == 0
        assert trace.valid[:, 1].all()


def test_id_out_of_range_names_token_and_layer():
    """The message says which token and which absolute layer is wrong."""
    ids = np.array(PAIRS)
    ids[1, 0, 1] = 9
    with pytest.raises(InputError, match=r"expert 9 of token 1, layer 7 \(row 0\).*0\.\.4"):
        RoutingTrace.from_arrays(ids, 5, [7, 8], name="t")
    ids[1, 0, 1] = -2
    with pytest.raises(InputError, match="expert -2 of token 1"):
        RoutingTrace.from_arrays(ids, 5)


def test_an_expert_twice_in_a_token_is_refused():
    """A token cannot name one expert twice in a layer."""
    with pytest.raises(InputError, match="token 1 names expert 3 twice in layer row 1"):
        RoutingTrace.from_arrays([[[0, 1], [2, 3]], [[1, 0], [3, 3]]], 5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"expert_ids": [[0, 1]]}, r"shape \(1, 2\)"),
        ({"expert_ids": [[[0.5, 1.0]]]}, "whole numbers"),
        ({"expert_ids": [[[0], [1, 2]]]}, "different lengths"),
        ({"num_experts": 0}, "num_experts is 0"),
        ({"layer_ids": [1]}, "1 layer ids for 2 layers"),
        ({"layer_ids": [1, 1]}, "no id twice"),
        ({"request": [0]}, r"request has shape \(1,\)"),
        ({"request": [0, 2**40]}, "32 bits"),
        ({"phase": [0, 2]}, "phase codes"),
        ({"phase": ["prefill", "training"]}, "'training'"),
        ({"domain": [0, 3], "domains": ["law"]}, "domain codes"),
        ({"weights": [[1.0]]}, "weights have shape"),
    ],
)
def test_malformed_columns_are_refused(change, message):
    """Every wrong column is an input error that says what is wrong."""
    with pytest.raises(InputError, match=message):
        RoutingTrace.from_arrays(**{"expert_ids": PAIRS, "num_experts": 5, **change})


def test_select_keeps_the_columns_together(random_trace):
    """Selecting tokens takes the same rows of every column."""
    trace = random_trace()
    part = trace.select(np.array([5, 2]))
    assert part.request.tolist() == [0, 0]
    assert part.position.tolist() == [5, 2]
    np.testing.assert_array_equal(part.expert_ids, trace.expert_ids[[5, 2]])
    np.testing.assert_array_equal(part.weights, trace.weights[[5, 2]])
    assert part.domains == trace.domains == ("code", "law")


def test_select_phase(random_trace):
    """A phase holds its tokens only; asking for what is not recorded says so."""
    trace = random_trace()
    decode = trace.select_phase("decode")
    assert decode.num_tokens == 20
    assert set(decode.position.tolist()) == {4, 5}
    with pytest.raises(InputError, match="holds no prefill"):
        decode.select_phase("prefill")
    with pytest.raises(UsageError, match="training"):
        trace.select_phase("training")
    with pytest.raises(InputError, match="does not record phases"):
        trace.replace(phase=None).select_phase("decode")


@pytest.mark.parametrize("fraction", [0.01, 0.3, 0.5, 0.99])
def test_split_keeps_requests_whole(random_trace, fraction):
    """Both sides are non-empty, disjoint in requests, and together everything."""
    trace = random_trace()
    fit, holdout = trace.split(fraction, seed=3)
    assert fit.num_tokens + holdout.num_tokens == trace.num_tokens
    assert fit.num_tokens
    assert holdout.num_tokens
    assert not set(fit.request.tolist()) & set(holdout.request.tolist())
    assert len(set(holdout.request.tolist())) == min(max(round(fraction * 10), 1), 9)


def test_split_depends_on_the_seed_alone(random_trace):
    """The same seed gives the same split, another seed another one."""
    trace = random_trace()
    halves = [trace.split(seed=seed)[1].request.tolist() for seed in (0, 0, 1)]
    assert halves[0] == halves[1] != halves[2]


@pytest.mark.parametrize("drop", [{"request": None}, {"request": np.zeros(60, np.int32)}])
def test_split_without_requests_keeps_neighbors_together(random_trace, drop):
    """Without requests contiguous blocks are split, not single tokens."""
    trace = random_trace().replace(position=np.arange(60, dtype=np.int32), **drop)
    fit, holdout = trace.split(0.5)
    assert fit.num_tokens == holdout.num_tokens == 30
    assert set((holdout.position // 3).tolist()).isdisjoint((fit.position // 3).tolist())


def test_split_refuses_nonsense(random_trace):
    """A fraction outside (0, 1), an unknown unit and a single token are refused."""
    trace = random_trace()
    with pytest.raises(UsageError):
        trace.split(1.0)
    with pytest.raises(UsageError):
        trace.split(by="word")
    with pytest.raises(InputError):
        trace.select(slice(0, 1)).split()
