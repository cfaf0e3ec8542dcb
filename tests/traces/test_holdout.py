from __future__ import annotations

import tracemalloc
from dataclasses import replace

import numpy as np
import pytest

from moeplace.errors import InputError, UsageError
from moeplace.traces import PHASES, Workload, open_trace, save_trace
from moeplace.traces.holdout import split_workload
from moeplace.traces.sources import join_stored, join_traces


def by_loading(trace, fraction, seed):
    """Split the way that needs the trace in memory."""
    by = "request" if trace.request is not None else "block"
    sides = trace.split(fraction, by, seed)
    return [
        {p: Workload.from_trace(side, phase=p, anchored=True).fingerprint() for p in PHASES}
        for side in sides
    ]


@pytest.mark.parametrize("requests", [True, False])
@pytest.mark.parametrize("stored", [True, False])
def test_one_pass_splits_as_loading_does(tmp_path, random_trace, requests, stored):
    """Fit and holdout of both phases are those of RoutingTrace.split, by request or by block."""
    trace = random_trace(tokens=700)
    if not requests:
        trace = trace.replace(request=None)
    expected = by_loading(trace, 0.3, 4)
    if stored:
        save_trace(trace, tmp_path / "t")
        trace = open_trace(tmp_path / "t")
    fit, held, by = split_workload(trace, 0.3, 4, anchored=True)
    assert by == ("request" if requests else "block")
    found = [{p: w.fingerprint() for p, w in side.items()} for side in (fit, held)]
    assert found == expected


def test_nothing_is_held_out_on_request(random_trace):
    """Without a fraction every token is in the first part; without phases there is one workload."""
    trace = random_trace(tokens=60).replace(phase=None)
    fit, held, by = split_workload(trace, None)
    assert (held, by) == ({}, "")
    assert fit[None].fingerprint() == Workload.from_trace(trace).fingerprint()
    with pytest.raises(UsageError, match="between 0 and 1"):
        split_workload(trace, 1.5)
    with pytest.raises(InputError, match="too few tokens"):
        split_workload(trace.select(slice(0, 1)), 0.5)


def test_stored_traces_are_joined_without_reading(tmp_path, random_trace):
    """Several folders make one trace; equal request numbers of two files stay apart."""
    traces = [random_trace(tokens=90, seed=seed) for seed in (1, 2)]
    for n, trace in enumerate(traces):
        save_trace(trace, tmp_path / f"t{n}")
    joined = join_stored([open_trace(tmp_path / f"t{n}") for n in range(2)])
    assert joined.num_tokens == 180
    expected = by_loading(join_traces(traces), 0.5, 0)
    fit, held, _ = split_workload(joined, 0.5, 0)
    found = [{p: w.fingerprint() for p, w in side.items()} for side in (fit, held)]
    assert found == expected
    other = random_trace(tokens=9, experts=5)
    save_trace(other, tmp_path / "other")
    with pytest.raises(InputError, match="differ in experts"):
        join_stored([joined, open_trace(tmp_path / "other")])


def test_memory_does_not_grow_with_the_trace(tmp_path, random_trace):
    """Four times the tokens, the same peak: chunks are let go, samples stay as large."""
    save_trace(random_trace(tokens=4000, experts=16), tmp_path / "t")
    stored = open_trace(tmp_path / "t")

    def peak(times):
        longer = replace(stored, parts=stored.parts * times)
        tracemalloc.start()
        split_workload(longer, 0.5, 0, max_tokens=1000)
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found

    peak(8)
    short, long = peak(8), peak(32)
    assert long < 1.15 * short
    fit, _, _ = split_workload(replace(stored, parts=stored.parts * 32), 0.5, 0, max_tokens=1000)
    one, _, _ = split_workload(stored, 0.5, 0)
    np.testing.assert_array_equal(fit["decode"].load, 32 * one["decode"].load)
