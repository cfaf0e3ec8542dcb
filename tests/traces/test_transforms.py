from __future__ import annotations

import numpy as np
import pytest

from moeplace.errors import InputError, UsageError
from moeplace.traces import load_trace, save_trace
from moeplace.traces.stored import open_trace, trace_chunks
from moeplace.traces.transforms import (
    merge_traces,
    sample_trace,
    split_trace,
    window_trace,
    write_chunks,
)


def names(trace):
    return np.array(trace.domains)[trace.domain].tolist()


@pytest.fixture(params=["memory", "stored"])
def trace(request, random_trace, tmp_path):
    """Return a trace in memory, and one on disk."""
    made = random_trace(tokens=300)
    if request.param == "memory":
        return made
    save_trace(made, tmp_path / "source")
    return open_trace(tmp_path / "source")


def test_chunks_are_the_trace(trace, random_trace):
    """Whatever the size, chunks put together are the trace."""
    whole = random_trace(tokens=300)
    for size in (1, 7, 300, 1000):
        parts = list(trace_chunks(trace, max_tokens=size))
        assert max(part.num_tokens for part in parts) <= size
        got = np.concatenate([part.expert_ids for part in parts])
        np.testing.assert_array_equal(got, whole.expert_ids)
        assert [d for part in parts for d in names(part)] == names(whole)


def test_split_by_request(trace, random_trace, tmp_path):
    """Whole requests go to one side; nothing is lost."""
    fit, holdout = (load_trace(p) for p in split_trace(trace, tmp_path / "s.npz", fraction=0.2))
    sides = [set(np.unique(t.request).tolist()) for t in (fit, holdout)]
    assert sides[0] & sides[1] == set()
    assert len(sides[0]) == 40
    assert len(sides[1]) == 10
    assert fit.num_tokens + holdout.num_tokens == 300


def test_split_by_time_and_domain(trace, random_trace, tmp_path):
    """Time cuts once, domains become traces of their own."""
    fit, holdout = (
        load_trace(p) for p in split_trace(trace, tmp_path / "t", by="time", fraction=0.25)
    )
    whole = random_trace(tokens=300)
    np.testing.assert_array_equal(fit.expert_ids, whole.expert_ids[:225])
    np.testing.assert_array_equal(holdout.expert_ids, whole.expert_ids[225:])
    paths = split_trace(trace, tmp_path / "d.npz", by="domain")
    assert [p.name for p in paths] == ["d-code.npz", "d-law.npz"]
    law = load_trace(paths[1])
    assert set(names(law)) == {"law"}
    assert law.num_tokens == names(whole).count("law")


def test_windows_and_samples(trace, random_trace, tmp_path):
    """A window is a slice, a sample a subset in recorded order, the same for the same seed."""
    whole = random_trace(tokens=300)
    write_chunks(window_trace(trace, 17, 40), tmp_path / "w.npz", name="w")
    np.testing.assert_array_equal(
        load_trace(tmp_path / "w.npz").expert_ids, whole.expert_ids[17:40]
    )
    write_chunks(sample_trace(trace, requests=5, seed=3), tmp_path / "r", name="r")
    kept = open_trace(tmp_path / "r").load()
    wanted = np.isin(whole.request, np.unique(kept.request))
    assert np.unique(kept.request).size == 5
    np.testing.assert_array_equal(kept.expert_ids, whole.expert_ids[wanted])
    write_chunks(sample_trace(trace, tokens=50), tmp_path / "k.npz", name="k")
    assert load_trace(tmp_path / "k.npz").num_tokens == 50


def test_merged_requests_stay_apart(trace, random_trace, tmp_path):
    """Two traces one after the other keep their tokens; requests do not meet."""
    other = random_trace(tokens=60, seed=5)
    write_chunks(merge_traces([trace, other]), tmp_path / "m", name="m")
    merged = open_trace(tmp_path / "m").load()
    assert merged.num_tokens == 360
    assert np.unique(merged.request).size == 50 + 10
    np.testing.assert_array_equal(merged.expert_ids[300:], other.expert_ids)
    assert names(merged)[300:] == names(other)
    with pytest.raises(InputError, match="differ in experts"):
        list(merge_traces([trace, random_trace(experts=9)]))


def test_what_cannot_be_cut(random_trace, tmp_path):
    """Missing columns, empty windows and unknown ways are errors."""
    bare = random_trace().replace(request=None, domain=None)
    with pytest.raises(InputError, match="does not record requests"):
        split_trace(bare, tmp_path / "s.npz")
    with pytest.raises(InputError, match="does not record domains"):
        split_trace(bare, tmp_path / "s.npz", by="domain")
    with pytest.raises(UsageError, match="cannot split by"):
        split_trace(bare, tmp_path / "s.npz", by="moon")
    with pytest.raises(UsageError, match="is empty"):
        list(window_trace(bare, 60, 61))
    with pytest.raises(UsageError, match="positive number"):
        list(sample_trace(bare))
