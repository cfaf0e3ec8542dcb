from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from moeplace.errors import InputError
from moeplace.traces import RoutingTrace, TokenSets, Workload

MODEL = SimpleNamespace(
    name="tiny", num_experts=4, top_k=2, num_layers=4, moe_layers=(2, 3), n_group=1, topk_group=1
)


def test_from_trace_counts_by_hand():
    """Loads, sets, weights and co-activation of three tokens are those counted by hand."""
    trace = RoutingTrace.from_arrays([[[0, 3]], [[3, 0]], [[1, 3]]], 4)
    workload = Workload.from_trace(trace)
    assert workload.load.tolist() == [[2, 1, 0, 3]]
    assert workload.token_sets[0].ids.tolist() == [[0, 3], [1, 3]]
    assert workload.token_sets[0].weight.tolist() == [2, 1]
    together = workload.coactivation()[0]
    assert together[0, 3] == together[3, 0] == 2
    assert together[1, 3] == 1
    assert together.sum() == 6
    assert (workload.num_tokens, workload.top_k, workload.kind) == (3, 2, "measured")


def test_from_trace_pads_partly_absent_sets():
    """Absent ids are pads, tokens without any expert are left out."""
    trace = RoutingTrace.from_arrays([[[2, -1]], [[-1, -1]], [[-1, 2]], [[1, 2]]], 4)
    sets = Workload.from_trace(trace).token_sets[0]
    assert sets.ids.tolist() == [[1, 2], [2, -1]]
    assert sets.weight.tolist() == [1, 2]
    assert sets.load(4).tolist() == [0, 1, 3, 0]


def test_from_trace_takes_one_phase(random_trace):
    """A phase can be chosen, and is known if the trace has one only."""
    trace = random_trace()
    assert Workload.from_trace(trace).phase is None
    decode = Workload.from_trace(trace, phase="decode", name="d")
    assert (decode.phase, decode.num_tokens, decode.name) == ("decode", 20, "d")
    assert Workload.from_trace(trace.select_phase("prefill")).phase == "prefill"
    with pytest.raises(InputError, match="no tokens"):
        Workload.from_trace(trace.select(slice(0, 0)))


@pytest.mark.parametrize(
    ("load", "message"),
    [
        ([[1, np.nan], [1, 1]], r"load nan of expert 1 in layer 5 \(row 0\)"),
        ([[1, 1], [-3, 1]], r"load -3.0 of expert 0 in layer 6 \(row 1\)"),
        ([[1, 1], [np.inf, 1]], "load inf of expert 0"),
        ([[1, 1], [0, 0]], "layer 6 .row 1. has no load"),
        ([[0, 0], [0, 0]], "every load is zero"),
        ([1, 2], r"shape \(2,\)"),
        ([[1, 2], [1]], "table of numbers"),
        ([["a", "b"]], "table of numbers"),
    ],
)
def test_from_loads_refuses_bad_loads(load, message):
    """Every kind of bad load is an input error that names layer and expert."""
    with pytest.raises(InputError, match=message):
        Workload.from_loads(load, layer_ids=[5, 6])


def test_from_loads_knows_its_tokens():
    """Tokens follow from loads and top_k, and are 0 where top_k is not known."""
    assert Workload.from_loads([[3, 3, 2]], top_k=2).num_tokens == 4
    assert Workload.from_loads([[3, 3, 2]]).num_tokens == 0


def test_loads_alone_have_no_coactivation():
    """What loads cannot tell is refused, not invented."""
    with pytest.raises(InputError, match="loads alone"):
        Workload.from_loads([[1, 1]]).coactivation()


def test_bind_drops_dense_rows():
    """A row for every layer, dense ones zero, becomes the MoE rows with absolute ids."""
    load = [[0] * 4, [0] * 4, [1, 2, 3, 4], [4, 3, 2, 1]]
    bound = Workload.from_loads(load).bind(MODEL)
    assert bound.layer_ids == (2, 3)
    assert bound.load.tolist() == load[2:]
    assert (bound.top_k, bound.num_tokens) == (2, 5)


def test_bind_takes_moe_rows_in_order():
    """Without layer ids the rows are the MoE layers in order; binding again changes nothing."""
    bound = Workload.from_loads([[1, 2, 3, 4], [4, 3, 2, 1]]).bind(MODEL)
    assert bound.layer_ids == (2, 3)
    assert bound.bind(MODEL).fingerprint() == bound.fingerprint()


def test_bind_takes_some_of_the_layers(random_trace):
    """With layer ids a part of the MoE layers is enough."""
    trace = random_trace(layers=1, experts=4, first_layer=3)
    assert Workload.from_trace(trace).bind(MODEL).layer_ids == (3,)


@pytest.mark.parametrize(
    ("workload", "message"),
    [
        (Workload.from_loads(np.ones((2, 5))), "5 experts a layer, tiny has 4.*another model"),
        (Workload.from_loads(np.ones((2, 4)), top_k=3), "to 3 experts, tiny to 2.*another model"),
        (Workload.from_loads(np.ones((3, 4))), "3 rows.*2 MoE layers of 4.*another model"),
        (Workload.from_loads(np.ones((4, 4))), "layer 0, which is no MoE layer.*another model"),
        (Workload.from_loads(np.ones((1, 4)), layer_ids=[9]), "layer 9.*another model"),
        (Workload.from_loads([[1, 1, 1, 1], [0] * 4]), r"MoE layer 3 \(row 1\) has no load"),
    ],
)
def test_bind_refuses_another_model(workload, message):
    """A trace of another model is recognized by experts, top_k, rows and layers."""
    with pytest.raises(InputError, match=message):
        workload.bind(MODEL)


def test_select_layers_takes_rows_of_everything(random_trace):
    """Loads, ids and token sets stay aligned; a row that does not exist is refused."""
    workload = Workload.from_trace(random_trace())
    part = workload.select_layers([2, 0])
    assert part.layer_ids == (3, 1)
    np.testing.assert_array_equal(part.load, workload.load[[2, 0]])
    assert part.token_sets[0] is workload.token_sets[2]
    with pytest.raises(InputError, match=r"0\.\.2"):
        workload.select_layers([3])


def test_fingerprint_sees_content_not_names(random_trace):
    """Names do not change the fingerprint; a load, a layer id or a set does."""
    workload = Workload.from_trace(random_trace())
    same = workload.replace(name="other", source="elsewhere")
    assert same.fingerprint() == workload.fingerprint()
    load = workload.load.copy()
    load[0, 0] += 1
    others = [
        workload.replace(load=load),
        workload.replace(layer_ids=(7, 8, 9)),
        workload.replace(token_sets=None, token_sets_kind=None),
        workload.with_token_sets(workload.token_sets[::-1], "measured"),
    ]
    assert len({w.fingerprint() for w in [workload, *others]}) == 5


def test_token_sets_are_checked():
    """Weights must be positive, sets not empty, experts those of the loads."""
    with pytest.raises(InputError, match="set 1 weighs 0"):
        TokenSets(np.array([[0, 1], [1, 2]]), np.array([1.0, 0.0]))
    with pytest.raises(InputError, match="no set may be empty"):
        TokenSets(np.array([[-1, -1]]), np.array([1.0]))
    with pytest.raises(InputError, match="do not fit"):
        TokenSets(np.array([0, 1]), np.array([1.0, 1.0]))
    sets = TokenSets(np.array([[0, 7]]), np.array([1.0]))
    workload = Workload.from_loads([[1, 1]], top_k=2)
    with pytest.raises(InputError, match="name expert 7"):
        workload.with_token_sets([sets], "synthetic")
    with pytest.raises(InputError, match="for 2 layers, loads for 1"):
        workload.with_token_sets([sets, sets], "synthetic")
    with pytest.raises(InputError, match="top_k is 1"):
        Workload.from_loads([[1] * 8], top_k=1).with_token_sets([sets], "synthetic")


def test_arrays_cannot_be_changed(random_trace):
    """A workload is frozen, its arrays included."""
    workload = Workload.from_trace(random_trace())
    with pytest.raises(ValueError, match="read-only"):
        workload.load[0, 0] = 1
    with pytest.raises(ValueError, match="read-only"):
        workload.token_sets[0].weight[0] = 5


def test_trace_of_every_layer_binds_to_the_moe_layers():
    """A trace with dense layers filled as engines do loses them, in loads and in token sets."""
    ids = np.zeros((5, 4, 2), dtype=np.uint8)
    ids[:, 2:] = [[0, 1], [3, 2]]
    workload = Workload.from_trace(RoutingTrace.from_arrays(ids, 4))
    assert [sets.num_sets for sets in workload.token_sets] == [0, 0, 1, 1]
    bound = workload.bind(MODEL)
    assert bound.layer_ids == (2, 3)
    assert [sets.ids.tolist() for sets in bound.token_sets] == [[[0, 1]], [[2, 3]]]
    assert bound.num_tokens == 5
