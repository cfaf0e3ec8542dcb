"""Systems scored with fitted kernels, and throughput estimates."""

from __future__ import annotations

import pytest

from moeplace.errors import InputError
from moeplace.hwmodels import load_system
from moeplace.hwmodels.calibrate.apply import calibrate_system
from moeplace.hwmodels.calibrate.estimate import estimate
from moeplace.hwmodels.calibrate.points import CommPoint
from moeplace.hwmodels.calibrate.store import shipped_kernels
from moeplace.models import load_model

TOKENS = {"prefill": 4096, "decode": 128}


@pytest.mark.parametrize(("phase", "family"), [("prefill", "deepep-normal"),
                                               ("decode", "deepep-low-latency")])  # fmt: skip
def test_uniform_routing_takes_as_long_as_the_kernel(phase: str, family: str) -> None:
    """α plus bytes over the calibrated NIC rate is the fitted kernels' time, both ways together."""
    model, system = load_model("deepseek-v3"), load_system("h100-sxm", 32)
    calibrated = calibrate_system(system, model, TOKENS)[0].for_phase(phase)
    kernels = {kernel.identity: kernel for kernel in shipped_kernels()[0]}
    wanted = found = 0.0
    for op, dtype in (("dispatch", "fp8"), ("combine", "bf16")):
        point = CommPoint("h100-sxm", family, op, 32, 8, TOKENS[phase], groups=8, top_groups=4,
                          dtype=dtype, sms=24 if phase == "prefill" else 0)  # fmt: skip
        wanted += kernels["h100-sxm", family, True, op].predict_us(point)
        from moeplace.hwmodels.calibrate.terms import quantities

        term = "node_nic_kB" if phase == "prefill" else "pair_nic_kB"
        rate = calibrated.nic_GBps * calibrated.nic_efficiency
        found += calibrated.alpha_us[phase][op] + quantities([point], [term])[0, 0] / rate
    assert found == pytest.approx(wanted)
    assert calibrated.compute_constants(model, phase, "fp8")[1] > 0


def test_phases_keep_their_own_constants() -> None:
    """Switching the phase of a system switches its constants and back again."""
    model, system = load_model("deepseek-v3"), load_system("h100-sxm", 32)
    calibrated, _ = calibrate_system(system, model, TOKENS)
    prefill, decode = calibrated.for_phase("prefill"), calibrated.for_phase("decode")
    assert prefill.nic_efficiency != decode.nic_efficiency
    assert prefill.for_phase("decode") == decode
    assert system.for_phase("decode") is system


def test_beyond_the_measurements_it_says_so() -> None:
    """512 ranks were never measured: a note says it; a wafer has no fitted kernel at all."""
    model = load_model("deepseek-v3")
    _, notes = calibrate_system(load_system("h100-sxm", 512), model, TOKENS)
    assert any("ranks 512 outside" in note for note in notes)
    _, notes = calibrate_system(load_system("h800-sxm", 32), model, TOKENS)
    assert any("sibling H100" in note for note in notes)
    with pytest.raises(InputError, match="no fitted kernel for wafer"):
        calibrate_system(load_system("wafer"), model, TOKENS)


def test_estimates_move_the_right_way() -> None:
    """Slower communication, imbalance and longer contexts cost throughput; overlap gains some."""
    model, system = load_model("deepseek-v3"), load_system("h100-sxm", 32)

    def rate(**changes) -> float:
        settings = {"context": 2048, "phase": "decode", "tokens": 128} | changes
        settings.setdefault("overlap", False)
        phase, tokens, context = (settings.pop(k) for k in ("phase", "tokens", "context"))
        return estimate(model, system, phase, tokens, context, **settings).tokens_per_s

    base = rate()
    assert rate(in_situ_factor=2.0) < base
    assert rate(context=16384) < base
    assert rate(overlap=True) > base
    assert rate(imbalance=3.0, phase="prefill", tokens=8192) < rate(phase="prefill", tokens=8192)
    assert rate(tokens=256) > base  # weights are streamed once for more tokens
    with pytest.raises(InputError, match="at least 1"):
        rate(in_situ_factor=0.5)
    with pytest.raises(InputError, match="no estimate"):
        estimate(model, load_system("mi300x", 8), "decode", 128, 2048)
