from __future__ import annotations

import numpy as np
import pytest

from moeplace import InputError, RoutingTrace, UsageError, load_trace, wafer_study
from moeplace.replay.wafer.constants import constant_sources, load_constants
from moeplace.replay.wafer.demand import demand_from_trace


def small_trace(requests: int = 8, prompt: int = 2, decode: int = 6) -> RoutingTrace:
    """Return a trace whose experts tell request and position."""
    length = prompt + decode
    request = np.repeat(np.arange(requests), length)
    position = np.tile(np.arange(length), requests)
    ids = (request * length + position)[:, None, None] % 251
    return RoutingTrace.from_arrays(
        ids, 251, request=request, position=position, phase=(position >= prompt).astype(int)
    )


def test_published_order_of_strategies() -> None:
    """Base < Pred < Allo <= Allo+Pred, EP near Allo+Pred, moeplace ahead, at batch 4096."""
    found = wafer_study("deepseek-v3", batch=4096, layers=1, steps=4, enforce_capacity=False)
    gain = {row.strategy: row.speedup or 0.0 for row in found.rows}
    assert 1 < gain["pred"] < gain["allo"] <= gain["allo+pred"] < gain["moeplace"]
    assert found.row("ep").hops == 0
    assert found.row("base").hops > 50 * found.row("allo+pred").hops
    assert all(0 < row.of_bound <= 1 for row in found.rows)


def test_kimi_does_not_fit() -> None:
    """At two bytes its experts exceed HBM, at one they do not."""
    two = wafer_study("kimi-k2", batch=64, layers=1, steps=1, strategies=["ep"])
    one = wafer_study("kimi-k2", batch=64, layers=1, steps=1, strategies=["ep"], weight_dtype="fp8")
    assert (two.fits, two.capacity) == (False, "does not fit")
    assert (one.fits, one.capacity) == (True, "enforced")
    assert two.needed_GB == pytest.approx(16 * 60 * 3 * 7168 * 2048 * 2 / 1e9)


def test_batch_goes_on_where_it_stopped() -> None:
    """Rows of a request follow each other; requests are reused from later tokens on."""
    trace = small_trace()
    demand = demand_from_trace(trace, 12, layers=1, steps=3, seed=0)
    ids = np.stack([demand.ids(step, 0)[:, 0] for step in range(3)])
    assert (np.diff(ids, axis=0) == 1).all()
    assert np.unique(ids[0]).size == 8  # four requests, each from two places, then from the first
    np.testing.assert_array_equal(ids[:, 4:8], ids[:, :4] + 3)
    np.testing.assert_array_equal(ids[:, 8:], ids[:, :4])


def test_history_is_of_other_requests() -> None:
    """No token is both in the batch's half and in what is known beforehand."""
    demand = demand_from_trace(small_trace(), 4, layers=1, steps=3)
    assert not set(demand.decode.ravel()) & set(demand.history.ravel())
    assert demand.history.shape[0] == 4 * 6
    assert demand.follows.sum() == 4


def test_too_few_decode_tokens() -> None:
    """An error that says what to do."""
    with pytest.raises(InputError, match="fewer --steps"):
        demand_from_trace(small_trace(), 4, layers=1, steps=7)


def test_bad_requests() -> None:
    """Names and numbers are checked before anything runs."""
    with pytest.raises(InputError, match="did you mean 'allo'"):
        wafer_study("deepseek-v3", strategies=["alo"])
    with pytest.raises(UsageError):
        wafer_study("deepseek-v3", batch=0)
    with pytest.raises(InputError, match="needs a mesh"):
        wafer_study("deepseek-v3", "h100-sxm")
    with pytest.raises(InputError, match="give the trace's model"):
        wafer_study("deepseek-v3", trace=small_trace())


def test_every_constant_has_a_source() -> None:
    """The YAML file names where each number is from."""
    sources = constant_sources()
    assert set(sources) == set(load_constants().__dataclass_fields__)
    assert all("arXiv" in text or "assumed" in text for text in sources.values())


def test_real_llama_trace(shared_data) -> None:  # type: ignore[no-untyped-def]
    """On real routing moeplace is ahead of Allo+Pred and of EP."""
    trace = load_trace(shared_data / "llama4_maverick_trace.npz")
    found = wafer_study("llama-4-maverick", batch=4096, layers=2, steps=4, trace=trace)
    assert found.kind == "measured"
    gain = {row.strategy: row.speedup or 0.0 for row in found.rows}
    assert 1 < gain["pred"] < gain["ep"]
    assert max(gain["ep"], gain["allo+pred"]) < gain["moeplace"]
