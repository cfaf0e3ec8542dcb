"""Prefill-aware placement: what must hold between the plans, and the worst placement by hand."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from moeplace import Workload, load_model, load_system, load_trace
from moeplace.errors import InfeasibleError, InputError
from moeplace.replay.prefill_aware import PLANS, prefill_aware, worst_ranks

if TYPE_CHECKING:
    from pathlib import Path

    from moeplace.replay.prefill_aware import PrefillRow


@pytest.fixture(scope="module")
def rows() -> dict[str, PrefillRow]:
    model = load_model("mixtral-8x7b").replace(
        num_layers=3, moe_layers=(0, 1, 2), num_experts=16, total_params=1e10
    )
    rng = np.random.default_rng(0)
    load = rng.gamma(0.5, 1000.0, (3, 16)) + 10
    prefill, decode, other = (
        Workload.from_loads(load * rng.gamma(9.0, 1 / 9, load.shape), top_k=2) for _ in range(3)
    )
    found = prefill_aware(model, load_system("h100-sxm", 4), prefill, decode, 8192, history=other)
    return {row.name: row for row in found}


def test_every_plan_is_there(rows: dict[str, PrefillRow]) -> None:
    """Each plan has a row; those with history come last."""
    assert list(rows) == [plan[0] for plan in PLANS] + ["moeplace-history", "moeplace-mixed"]


def test_gains_are_ratios(rows: dict[str, PrefillRow]) -> None:
    """Gains are the default's seconds over a plan's."""
    assert rows["default"].compute_gain == rows["default"].step_gain == 1
    for row in rows.values():
        assert row.compute_gain == pytest.approx(rows["default"].compute_s / row.compute_s)
        assert row.step_gain == pytest.approx(rows["default"].step_s / row.step_s)


def test_oracles_are_oracles(rows: dict[str, PrefillRow]) -> None:
    """The worst is slowest, the best of those fitted on decode is the zero of `over_oracle`."""
    assert max(rows.values(), key=lambda row: row.compute_s).name == "worst"
    for redundant in (0, 4):
        inside = [row for row in rows.values() if row.redundant == redundant]
        fitted = [row.over_oracle for row in inside if row.fitted_on == "decode"]
        assert min(fitted) == 0
    assert rows["best"].compute_s <= rows["remap"].compute_s * (1 + 1e-9)
    assert rows["remap"].compute_gain > 1


def test_worst_by_hand() -> None:
    """The heaviest experts share the first rank."""
    load = np.array([[1.0, 5, 3, 9], [2, 2, 8, 7]])
    assert worst_ranks(load, 2).tolist() == [[1, 0, 1, 0], [1, 1, 0, 0]]
    assert worst_ranks(np.arange(5.0)[None], 2).tolist() == [[1, 1, 0, 0, 0]]


def test_without_room_for_copies() -> None:
    """Plans with redundant experts are left out where they do not fit, the rest must fit."""
    model = load_model("deepseek-v3").replace(
        num_layers=2, moe_layers=(0, 1), num_experts=16, total_params=None, active_params=None
    )
    flat = Workload.from_loads(np.ones((2, 16)) * 100, top_k=8)
    each = 2 * model.expert_bytes("bf16") / 1e9  # GB of an expert in both layers
    system = load_system("h100-sxm", 4).replace(reserve_fraction=0.0, kv_cache_GB=0.0)
    dtype_share = model.expert_bytes(system.weight_dtype(model)) / model.expert_bytes("bf16")

    def names(room: float) -> set[str]:
        given = system.replace(hbm_GB=room * each * dtype_share)
        return {row.name for row in prefill_aware(model, given, flat, flat, 64)}

    assert names(5.1) == {plan[0] for plan in PLANS}
    assert names(4.1) == {plan[0] for plan in PLANS if not plan[3]}
    with pytest.raises(InfeasibleError):
        names(3.9)


def test_batch_smaller_than_ranks() -> None:
    """Every rank needs a token."""
    flat = Workload.from_loads(np.ones((58, 256)), top_k=8)
    with pytest.raises(InputError, match="one each"):
        prefill_aware(load_model("deepseek-v3"), load_system("h200-sxm", 8), flat, flat, 7)


def test_measured_trace(shared_data: Path) -> None:
    """On Llama-4's trace Remap by prefill gains a little at EP8, the oracle more."""
    trace = load_trace(shared_data / "llama4_maverick_trace.npz")
    keep = [row for row, layer in enumerate(trace.layer_ids or ()) if layer in (1, 3, 5, 7)]
    loads = [
        Workload.from_loads(
            Workload.from_trace(trace.select_phase(phase)).load[keep], top_k=1
        ).replace(layer_ids=(1, 3, 5, 7))
        for phase in ("prefill", "decode")
    ]
    system = load_system("h200-sxm", 16)
    found = {
        row.name: row for row in prefill_aware(load_model("llama-4-maverick"), system, *loads, 4096)
    }
    assert found["worst"].compute_gain < 1
    assert found["best"].compute_gain >= found["remap"].compute_gain
