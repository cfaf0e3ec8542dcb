from __future__ import annotations

import json

import numpy as np
import pytest

from moeplace.errors import InputError, UsageError
from moeplace.traces import RoutingTrace, Workload, load_workload, save_trace
from moeplace.traces.sources import join_loads, join_traces, load_source, save_loads


def trace(first, domain="a", **columns):
    """Return four tokens of two requests in two layers, the first expert given."""
    ids = np.array([[[first, 3], [1, 2]]] * 4)
    return RoutingTrace.from_arrays(
        ids, 4, (1, 2), request=[7, 7, 9, 9], domain=[domain] * 4, name=domain, **columns
    )


def test_join_keeps_requests_and_domains_apart():
    """Two requests of each file make four; domains are named as before."""
    joined = join_traces([trace(0, "a", phase="prefill"), trace(1, "b", phase="decode")])
    assert joined.expert_ids[:, 0, 0].tolist() == [0] * 4 + [1] * 4
    assert joined.request.tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
    assert [joined.domains[code] for code in joined.domain] == ["a"] * 4 + ["b"] * 4
    assert joined.phase.tolist() == [0] * 4 + [1] * 4
    assert joined.name == "a + b"


def test_the_name_of_many_files_stays_short():
    """Three names and a number."""
    assert join_traces([trace(0, name) for name in "abc"]).name == "a + b + c"
    assert join_traces([trace(0, name) for name in "abcde"]).name == "a + b + c + 2 more"


def test_join_leaves_out_columns_that_one_lacks():
    """A phase that one file does not record is not invented for it."""
    joined = join_traces([trace(0, phase="prefill"), trace(1)])
    assert joined.phase is None
    assert joined.request is not None


def test_join_keeps_absent_ids_absent():
    """A layer that one file did not record stays empty beside one that did."""
    ids = np.array([[[0, 1], [-1, -1]]])
    parts = [RoutingTrace.from_arrays(ids, 4), RoutingTrace.from_arrays(ids[:, ::-1], 4)]
    assert join_traces(parts).valid[:, :, 0].tolist() == [[True, False], [False, True]]


def test_traces_of_other_models_are_not_joined():
    """Another number of experts or other layers are refused."""
    other = RoutingTrace.from_arrays(np.array([[[0, 1], [1, 2]]]), 8, (1, 2))
    with pytest.raises(InputError, match="differ"):
        join_traces([trace(0), other])
    with pytest.raises(InputError, match="differ"):
        join_traces([trace(0), trace(0).replace(layer_ids=(3, 4))])


def test_loads_are_added_and_told_apart():
    """Sums of loads; the phase survives if it is the same, the kind is the weaker one."""
    one = Workload.from_loads([[1, 2]], top_k=1, name="x", phase="decode")
    two = Workload.from_loads([[3, 5]], name="y", phase="decode", kind="synthetic")
    joined = join_loads([one, two])
    assert joined.load.tolist() == [[4, 7]]
    assert (joined.phase, joined.kind, joined.top_k) == ("decode", "synthetic", 1)
    assert join_loads([one, two.replace(phase="prefill")]).phase is None
    with pytest.raises(InputError, match="differ"):
        join_loads([one, two.replace(top_k=2)])


def test_loads_come_back_from_their_file(tmp_path):
    """Loads, ids, top_k, phase and where they come from survive; other endings are refused."""
    loads = Workload.from_loads([[1, 2], [3, 4]], top_k=1, layer_ids=(3, 7), phase="decode")
    loads = loads.replace(name="kept", kind="synthetic", source="somebody's counts")
    save_loads(loads, tmp_path / "l.npz")
    back = load_workload(tmp_path / "l.npz")
    assert back.fingerprint() == loads.fingerprint()
    assert (back.name, back.kind, back.source) == ("kept", "synthetic", "somebody's counts")
    assert isinstance(load_source(tmp_path / "l.npz"), Workload)
    with pytest.raises(UsageError, match=r"\.npz"):
        save_loads(loads, tmp_path / "l.json")


def test_a_source_is_what_the_file_holds(tmp_path):
    """Tokens come as a trace, loads as a workload, shipped names as either."""
    save_trace(trace(0), tmp_path / "t.npz")
    (tmp_path / "l.json").write_text(json.dumps({"logical_count": [[1, 2]]}))
    assert isinstance(load_source(tmp_path / "t.npz"), RoutingTrace)
    assert isinstance(load_source(tmp_path / "l.json"), Workload)
    assert isinstance(load_source("deepseek-v3/decode_in2000out100"), Workload)
    assert isinstance(load_source("deepseek-v2-lite/prefill_esft"), RoutingTrace)
    with pytest.raises(InputError, match="no such file"):
        load_source(tmp_path / "gone.npz")
