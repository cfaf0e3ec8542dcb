from __future__ import annotations

import numpy as np
import pytest

from moeplace.errors import InputError
from moeplace.models import load_model
from moeplace.traces import (
    default_trace,
    default_workloads,
    load_trace,
    load_workload,
    shipped_workloads,
)
from moeplace.traces.shipped import DATA


@pytest.mark.parametrize("name", shipped_workloads())
def test_every_shipped_workload_fits_its_model(name):
    """Each name loads, is measured, and binds to its model without change."""
    workload = load_workload(name)
    assert workload.kind == "measured"
    assert workload.source
    bound = workload.bind(load_model(name.split("/")[0]))
    assert bound.fingerprint() == workload.fingerprint()
    assert bound.num_layers == len(bound.layer_ids)


def test_deepseek_v3_defaults():
    """Both phases of DeepSeek-V3 have 58 rows and the token counts of the recordings."""
    workloads = default_workloads("DeepSeek-V3")
    assert {p: w.name for p, w in workloads.items()} == {
        "prefill": "deepseek-v3/prefill_in4096",
        "decode": "deepseek-v3/decode_in2000out100",
    }
    assert workloads["prefill"].load.shape == (58, 256)
    assert workloads["prefill"].layer_ids == tuple(range(3, 61))
    assert (workloads["prefill"].load.sum(axis=1) == 67_108_864).all()
    assert (workloads["decode"].load.sum(axis=1) == 23_760_000).all()
    assert workloads["decode"].num_tokens == 2_970_000
    assert workloads["prefill"].token_sets is None
    assert default_workloads("deepseek-r1").keys() == workloads.keys()


def test_deepseek_v2_lite_excerpt():
    """The excerpt is token-level: whole requests, all domains, all layers, prefill only."""
    trace = default_trace("deepseek-v2-lite")
    assert (trace.num_layers, trace.top_k, trace.num_experts) == (26, 6, 64)
    assert trace.domains == ("intent", "law", "summary", "translation")
    assert (np.bincount(trace.domain) > 3000).all()
    starts = np.flatnonzero(np.diff(trace.request, prepend=-1))
    assert (trace.position[starts] == 0).all()
    assert len(starts) == len(np.unique(trace.request))
    workloads = default_workloads("deepseek-v2-lite")
    assert list(workloads) == ["prefill"]
    assert workloads["prefill"].token_sets_kind == "measured"
    assert load_trace("deepseek-v2-lite/prefill_esft").num_tokens == trace.num_tokens


def test_models_without_data_have_no_default():
    """No workload is invented for a model that was not measured."""
    assert default_workloads("mixtral-8x7b") == {}
    assert default_trace("deepseek-v3") is None


def test_loads_are_not_given_out_as_a_trace():
    """A shipped recording of loads cannot be read as tokens; a wrong name lists the right ones."""
    with pytest.raises(InputError, match="loads, not tokens"):
        load_trace("deepseek-v3/prefill_in4096")
    with pytest.raises(InputError, match="deepseek-v3/prefill_in4096"):
        load_workload("deepseek-v3/prefill_in8192")


def test_shipped_files_are_small():
    """The data stay below two megabytes."""
    assert sum(file.stat().st_size for file in DATA.iterdir()) < 2_000_000
