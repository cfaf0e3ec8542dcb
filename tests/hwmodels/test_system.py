from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moeplace.errors import InputError
from moeplace.hwmodels import DEDUP_MODES, System, load_system
from moeplace.models import load_model


def slowest_link_s(system: System, dedup: str) -> float:
    """Return the time bound of one byte to every destination set, latency included."""
    plan = system.plan(dedup)
    use = plan.uniform_use[0].sum(axis=1)
    return float((use / system.topology.bandwidth_Bps).max() + plan.uniform_latency_s.max())


def test_deepep_low_latency_bytes() -> None:
    """Eight copies of 7168 values are 59,264 B out in FP8 and 114,688 B back in BF16."""
    dispatch, combine = load_system("h100-sxm").copy_bytes(7168)
    assert 8 * dispatch == 59_264
    assert 8 * combine == 114_688


def test_bf16_copies_have_no_scales() -> None:
    """A wafer sends two bytes a value and a header of 16 bytes; the combine has no header."""
    assert load_system("wafer").copy_bytes(2048) == (2048 * 2 + 16, 2048 * 2)


def test_int8_copy_is_seven_and_a_half_kib() -> None:
    """The Ascend message of 7168 values has 7.5 KiB."""
    assert load_system("ascend-910c").copy_bytes(7168)[0] == 7.5 * 1024


@given(factor=st.floats(1.01, 50), dedup=st.sampled_from(DEDUP_MODES))
@settings(max_examples=30)
def test_faster_links_are_never_slower(factor: float, dedup: str) -> None:
    """The bound on the communication time does not rise with any bandwidth."""
    for name, speed, ranks in (
        ("mesh:3x4", "link_GBps", None),
        ("h100-sxm", "link_GBps", 16),
        ("h100-sxm", "nic_GBps", 16),
    ):
        system = load_system(name, ranks)
        faster = system.replace(**{speed: getattr(system, speed) * factor})
        assert slowest_link_s(faster, dedup) <= slowest_link_s(system, dedup) * (1 + 1e-12)


def test_longer_hops_cost_latency() -> None:
    """Ten times the hop latency raises the bound by nine diameters."""
    wafer = load_system("wafer")
    slow = wafer.replace(link_latency_us=wafer.link_latency_us * 10)
    extra = slowest_link_s(slow, "rank") - slowest_link_s(wafer, "rank")
    assert extra == pytest.approx(9 * 8 * 0.2e-6)


def test_usable_bandwidth() -> None:
    """The fabric has the usable share of the nominal bandwidth, tier by tier."""
    system = load_system("h100-sxm", ranks=16)
    speeds = dict(zip(system.topology.link_names, system.topology.bandwidth_Bps, strict=True))
    assert speeds["fast-out 3"] == pytest.approx(450e9 * system.link_efficiency)
    assert speeds["nic-in 3"] == pytest.approx(50e9 * system.nic_efficiency)


def test_compute_constants_of_the_h100() -> None:
    """Streaming one DeepSeek-V3 expert takes 16 µs, a token 0.09 µs: the measured kernel."""
    system, model = load_system("h100-sxm"), load_model("deepseek-v3")
    floor_s, expert_s, token_s = system.compute_constants(model, "decode")
    assert floor_s == pytest.approx(20e-6)
    assert expert_s == pytest.approx(44_040_192 / (3350e9 * 0.82))
    assert token_s == pytest.approx(2 * 44_040_192 / (1978e12 * 0.493))
    prefill_floor_s, *_ = system.compute_constants(model, "prefill")
    assert prefill_floor_s == pytest.approx(312e-6)


def test_weight_dtype_falls_back() -> None:
    """Where the device lacks the model's type, experts are held in BF16."""
    model = load_model("deepseek-v3")
    assert load_system("h100-sxm").weight_dtype(model) == "fp8"
    assert load_system("wafer").weight_dtype(model) == "bf16"
    with pytest.raises(InputError, match="does not compute in fp8"):
        load_system("wafer").compute_constants(model, "decode", "fp8")


def test_memory_left_for_experts() -> None:
    """Reserve, KV cache and non-expert weights are taken off; sharding divides the last."""
    wafer, model = load_system("wafer"), load_model("deepseek-v3")
    assert model.non_expert_params is not None
    shared = model.non_expert_params * 2
    left = 80e9 * 0.9 - 8e9
    assert wafer.expert_memory_bytes(model, "bf16") == pytest.approx(left - shared / 25)
    copied = wafer.replace(non_expert="replicated")
    assert copied.expert_memory_bytes(model, "bf16") == pytest.approx(left - shared)
    assert wafer.replace(non_expert="none").expert_memory_bytes(model, "bf16") == left


def test_replace_says_so() -> None:
    """A changed constant no longer carries the source of the old figure; a new fabric is built."""
    wafer = load_system("wafer")
    faster = wafer.replace(link_GBps=3400)
    assert "changed" in faster.sources["link_GBps"]
    assert faster.sources["hbm_GBps"] == wafer.sources["hbm_GBps"]
    np.testing.assert_allclose(faster.topology.bandwidth_Bps, 2 * wafer.topology.bandwidth_Bps)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"speed": 1}, "no constant 'speed'"),
        ({"link_GBps": 0}, "link_GBps must be positive"),
        ({"hbm_efficiency": -1}, "hbm_efficiency must be positive"),
        ({"ranks": 24}, "25 ranks, not 24"),
        ({"non_expert": "split"}, "non_expert 'split'"),
        ({"kind": "torus"}, "kind 'torus'"),
    ],
)
def test_replace_refuses(changes: dict[str, Any], message: str) -> None:
    """A constant that cannot be is an input error."""
    with pytest.raises(InputError, match=message):
        load_system("wafer").replace(**changes)


def test_system_can_be_sent_to_another_process() -> None:
    """A pickled system is equal and plans the same."""
    system = load_system("wafer")
    before = system.plan("multicast").uniform_use[0]
    copy = pickle.loads(pickle.dumps(system))
    assert copy == system
    np.testing.assert_array_equal(copy.plan("multicast").uniform_use[0], before)


def test_dtype_of_devices_without_bf16():
    """A device that has neither the model's dtype nor bf16 computes in fp16."""
    system = load_system("h100-sxm").replace(peak_tflops={"fp16": 125.0})
    assert system.weight_dtype(load_model("deepseek-v3")) == "fp16"
