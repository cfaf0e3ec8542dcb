"""The same code on real recordings, where they are at hand."""

from __future__ import annotations

import json

import numpy as np
import pytest

from moeplace.models import load_model
from moeplace.traces import (
    Workload,
    default_trace,
    load_trace,
    load_workload,
    synthesize_token_sets,
    trace_info,
    workload_stats,
)


@pytest.mark.parametrize(
    ("file", "shape", "experts", "layer_ids"),
    [
        ("deepseek_v2_lite_trace.npz", (24972, 26, 6), 64, range(1, 27)),
        ("small_moe_256_trace.npz", (158969, 11, 8), 256, range(1, 12)),
        ("llama4_maverick_trace.npz", (34517, 24, 1), 128, range(1, 48, 2)),
        ("qwen15_moe_5layers.npz", (4357, 5, 4), 60, (0, 8, 12, 18, 23)),
    ],
)
def test_recorded_traces_are_read(shared_data, file, shape, experts, layer_ids):
    """Shapes, experts and layers are those of the recordings."""
    trace = load_trace(shared_data / file)
    assert trace.expert_ids.shape == shape
    assert trace.num_experts == experts
    assert trace.layer_ids == tuple(layer_ids)


def test_raw_files_equal_the_parsed_trace(shared_data):
    """The raw JSON tree of Llama-4-Maverick gives the tokens that its parsed copy has."""
    raw = load_trace(shared_data / "chaos_raw_json" / "llama4-maverick", num_experts=128)
    parsed = load_trace(shared_data / "llama4_maverick_trace.npz")
    assert raw.layer_ids == parsed.layer_ids
    known = {
        parsed.expert_ids[parsed.request == request].tobytes()
        for request in np.unique(parsed.request)
    }
    for request in np.unique(raw.request):
        assert raw.expert_ids[raw.request == request].tobytes() in known
    assert any("layer 45 sends 99.8%" in text for text in raw.meta["warnings"])


def test_shipped_loads_equal_the_recordings(shared_data):
    """All five recordings of DeepSeek-V3 were shipped unchanged."""
    model = load_model("deepseek-v3")
    files = sorted((shared_data / "deepseek_v3_loads").glob("*.json"))
    assert len(files) == 5
    for file in files:
        shipped = load_workload(f"deepseek-v3/{file.stem}")
        bound = load_workload(file, phase=shipped.phase).bind(model)
        assert bound.fingerprint() == shipped.fingerprint()
        assert shipped.load.tolist() == json.loads(file.read_text())["logical_count"][3:]


def test_shipped_excerpt_is_part_of_the_recording(shared_data):
    """Each request of the excerpt is in the recording, complete."""
    whole = load_trace(shared_data / "deepseek_v2_lite_trace.npz")
    part = default_trace("deepseek-v2-lite")
    for request in np.unique(part.request):
        np.testing.assert_array_equal(
            part.expert_ids[part.request == request], whole.expert_ids[whole.request == request]
        )


def test_router_shape_explains_the_ranks_touched(shared_data):
    """Synthetic sets touch as many ranks as real ones of that router; pairs are weaker."""
    trace = load_trace(shared_data / "small_moe_256_trace.npz")
    workload = Workload.from_trace(trace.select(slice(None, None, 8))).select_layers([4, 9])
    sets = synthesize_token_sets(workload.load, 8, n_group=8, topk_group=4)
    real = workload_stats(workload)
    synthetic = workload_stats(workload.with_token_sets(sets, "synthetic"))
    for ranks in (4, 8, 16, 32):
        np.testing.assert_allclose(
            synthetic.contiguous_ranks[ranks], real.contiguous_ranks[ranks], rtol=0.05
        )
    assert min(real.pair_lift["1%"]) > 2 * max(synthetic.pair_lift["1%"])


def test_known_figures(shared_data):
    """Rank correlation of prefill and decode on Llama-4 is that of other tools."""
    info = trace_info(load_trace(shared_data / "llama4_maverick_trace.npz"))
    assert info.phases == {"prefill": 4833, "decode": 29684}
    assert 0.7 < np.mean(info.phase_spearman) < 0.85
