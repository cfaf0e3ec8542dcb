"""Windows of traces and loads."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import pytest

from moeplace.errors import InputError, UsageError
from moeplace.replay.drift import Drift, capped_shares, drifting_windows
from moeplace.replay.estimate import Estimator
from moeplace.replay.windows import count_loads, load_windows, shares, trace_windows
from moeplace.traces import RoutingTrace, Workload, save_trace
from moeplace.traces.stored import open_trace

if TYPE_CHECKING:
    from pathlib import Path


def small_trace(tokens: int = 103, seed: int = 0) -> RoutingTrace:
    """Return a trace of 3 layers, 8 experts, top 2, requests of 1 to 9 tokens."""
    rng = np.random.default_rng(seed)
    ids = np.array([[rng.permutation(8)[:2] for _ in range(3)] for _ in range(tokens)])
    sizes = rng.integers(1, 10, tokens)
    request = np.repeat(np.arange(tokens), sizes)[:tokens]
    position = np.concatenate([np.arange(n) for n in np.bincount(request)])
    phase = np.where(np.arange(tokens) % 3 == 0, "prefill", "decode")
    return RoutingTrace.from_arrays(
        ids, 8, (1, 2, 3), request=request, position=position, phase=phase
    )


def slow_load(ids: np.ndarray) -> np.ndarray:
    """Count loads token by token."""
    load = np.zeros((3, 8))
    for token in ids:
        for layer in range(3):
            for expert in token[layer]:
                load[layer, expert] += 1
    return load


def test_by_tokens_against_slices() -> None:
    """Windows of 10 tokens hold the loads of slices of 10 tokens."""
    trace = small_trace()
    found = [window.load for window in trace_windows(trace, size=10)]
    ids = trace.expert_ids.astype(int)
    expected = [slow_load(ids[i : i + 10]) for i in range(0, 103, 10)]
    np.testing.assert_array_equal(found, expected)


def test_by_requests_keeps_requests_whole() -> None:
    """Every window holds whole requests, three each."""
    trace = small_trace()
    windows = trace_windows(trace, size=3, by="requests", keep_tokens=True)
    parts = [window.tokens for window in windows]
    numbers = [set(np.asarray(part.request).tolist()) for part in parts if part is not None]
    assert all(len(group) == 3 for group in numbers[:-1])
    assert not any(a & b for a, b in pairwise(numbers))
    assert sum(part.num_tokens for part in parts if part is not None) == trace.num_tokens


def test_by_position() -> None:
    """Window i holds the tokens at positions 4 i to 4 i + 3."""
    trace = small_trace()
    found = [window.load for window in trace_windows(trace, size=4, by="position")]
    position = np.asarray(trace.position)
    ids = trace.expert_ids.astype(int)
    expected = [slow_load(ids[position // 4 == i]) for i in range(position.max() // 4 + 1)]
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("by", ["tokens", "requests"])
def test_stored_in_chunks(tmp_path: Path, by: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stored trace read in small chunks gives the windows of the one in memory."""
    trace = small_trace()
    save_trace(trace, tmp_path / "t.parquet")
    stored = open_trace(tmp_path / "t.parquet")
    expected = [window.load for window in trace_windows(trace, size=7, by=by)]
    monkeypatch.setattr("moeplace.traces.stored.CHUNK_IDS", 6 * 11)
    found = [window.load for window in trace_windows(stored, size=7, by=by)]
    np.testing.assert_array_equal(found, expected)


def test_phase_and_number_of_windows() -> None:
    """One phase alone, cut into as many windows as asked for."""
    trace = small_trace()
    windows = trace_windows(trace, windows=5, phase="decode")
    loads = [window.load for window in windows]
    assert len(windows) == len(loads) == 5
    np.testing.assert_array_equal(sum(loads), count_loads(trace.select_phase("decode")))


def test_window_options_are_checked() -> None:
    """Neither or both of number and size, unknown ways, and missing columns are refused."""
    trace = small_trace()
    with pytest.raises(UsageError, match="either"):
        trace_windows(trace)
    with pytest.raises(UsageError, match="cannot cut"):
        trace_windows(trace, size=3, by="hours")
    with pytest.raises(InputError, match="does not record position"):
        trace_windows(trace.replace(position=None), size=3, by="position")


def test_loads_follow_one_another() -> None:
    """Two recordings of three windows each, as shares."""
    one = Workload.from_loads([[1.0, 3.0]], name="a")
    two = Workload.from_loads([[4.0, 4.0]], name="b")
    windows = load_windows([one, two], windows=5)
    assert [window.label for window in windows] == ["a", "a", "a", "b", "b", "b"]
    np.testing.assert_allclose(windows.first().load, [[0.25, 0.75]])


def test_loads_of_other_shape_are_refused() -> None:
    """Recordings of different models cannot follow one another."""
    one = Workload.from_loads([[1.0, 3.0]], name="a")
    two = Workload.from_loads([[4.0, 4.0, 1.0]], name="b")
    with pytest.raises(InputError, match="'a' and 'b'"):
        load_windows([one, two])


def test_drift_has_the_share_asked_for() -> None:
    """The hottest 10 of 64 experts get 60 % of the tokens on average."""
    drift = Drift(layers=200, experts=64, hot_share=0.6, hot_experts=10, memory=5)
    loads = np.array([shares(window.load) for window in drifting_windows(drift, 5, seed=1)])
    hottest = np.sort(loads, axis=2)[:, :, -10:].sum(axis=2)
    assert hottest.mean() == pytest.approx(0.6, abs=0.03)


def test_drift_forgets_at_the_rate_asked_for() -> None:
    """The correlation of log popularity falls to 1/e after `memory` windows."""
    drift = Drift(layers=300, experts=64, top_k=1, hot_share=0.4, memory=8)
    logs = [np.log(window.load) for window in drifting_windows(drift, 9, seed=2)]
    centered = [x - x.mean(axis=1, keepdims=True) for x in logs]
    assert np.corrcoef(centered[0].ravel(), centered[8].ravel())[0, 1] == pytest.approx(
        np.exp(-1), abs=0.03
    )


def test_drift_is_seeded_and_repeats() -> None:
    """The same seed gives the same windows, twice over; another seed others."""
    drift = Drift(layers=2, experts=16, hot_experts=3, tokens=500, jump=0.5)
    windows = drifting_windows(drift, 4, seed=3)
    first, again = [w.load for w in windows], [w.load for w in windows]
    other = [w.load for w in drifting_windows(drift, 4, seed=4)]
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)
    assert np.array(first).sum() == 4 * 2 * 500


def test_no_expert_has_more_than_every_token() -> None:
    """Shares stay at or below 1 / top_k and sum to 1."""
    x = np.array([[9.0, 8.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0, 0.0]])
    found = capped_shares(x, 2)
    np.testing.assert_allclose(found.sum(axis=1), 1)
    assert found[0, 0] == pytest.approx(0.5)
    assert found.max() <= 0.5 + 1e-12


def test_estimates_by_hand() -> None:
    """Window and exponential averages of shares."""
    first, one, two = np.array([[1.0, 1.0]]), np.array([[4.0, 0.0]]), np.array([[0.0, 2.0]])
    mean, fading, last = Estimator("window:2", first), Estimator("ema:0.25", first), None
    for load in (one, two, two):
        last = mean.value
        mean.see(load)
        fading.see(load)
    np.testing.assert_allclose(last, [[0.5, 0.5]])
    np.testing.assert_allclose(mean.value, [[0.0, 1.0]])
    start = 0.75 * 0.5 + 0.25
    np.testing.assert_allclose(fading.value[0, 0], start * 0.75**2)


@pytest.mark.parametrize("text", ["ema:0", "ema:2", "window:0", "mean", "ema:x"])
def test_bad_estimates_are_refused(text: str) -> None:
    """What is neither window:N nor ema:A is refused."""
    with pytest.raises(UsageError, match="cannot estimate"):
        Estimator(text, np.ones((1, 2)))
