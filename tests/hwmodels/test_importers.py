"""Descriptions of other tools as system files."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
import yaml

from moeplace.errors import InputError
from moeplace.hwmodels import load_system
from moeplace.hwmodels.importers import import_system

if TYPE_CHECKING:
    from pathlib import Path

AIC = """
gpu: {mem_bw: 4.8e12, mem_capacity: 1.5e11, bfloat16_tc_flops: 9.89e14, fp8_tc_flops: 1.978e15}
node: {num_gpus_per_node: 8, intra_node_bw: 4.5e11, inter_node_bw: 5.0e10, p2p_latency: 0.00001}
misc: {other_mem: 3.5e9}
"""
ASTRA = """
topology: [ Switch, Switch ]
npus_count: [ 8, 4 ]
bandwidth: [ 400.0, 50.0 ]
latency: [ 936.25, 1000.0 ]
"""
INFRA = {
    "infrastructure": {
        "devices": [
            {
                "name": "host",
                "components": [{"name": "xpu", "type": "xpu", "count": 8}],
                "links": [
                    {"name": "nvlink", "physical": {"bandwidth": {"gigabytes_per_second": 450}}},
                ],
            }
        ],
        "links": [
            {
                "name": "nic_link",
                "physical": {"bandwidth": {"gigabits_per_second": 400}, "latency": {"ns": 500}},
            }
        ],
        "instances": [{"name": "hosts", "device": "host", "count": 4}],
    }
}


def load_back(folder: Path, text: str):
    source = folder / "mine.yaml"
    source.write_text(text, encoding="utf-8")
    content, origin = import_system(source)
    out = folder / "system.yaml"
    out.write_text(yaml.safe_dump(content), encoding="utf-8")
    return load_system(out), origin


def test_aiconfigurator(tmp_path: Path) -> None:
    """SI units become GB/s and TFLOPS; a number that YAML reads as text is one."""
    system, origin = load_back(tmp_path, AIC)
    assert origin == "aiconfigurator"
    assert (system.hbm_GBps, system.link_GBps, system.nic_GBps) == (4800, 450, 50)
    assert system.peak_tflops == {"bf16": 989, "fp8": 1978}
    assert "aiconfigurator" in system.sources["hbm_GBps"]
    assert system.sources["hbm_efficiency"].startswith("assumed: as h100-sxm")


def test_astra_sim(tmp_path: Path) -> None:
    """Two dimensions are nodes and NICs; ns become µs."""
    system, origin = load_back(tmp_path, ASTRA)
    assert origin == "astra-sim"
    assert (system.ranks, system.node_size, system.link_GBps, system.nic_GBps) == (32, 8, 400, 50)
    assert (system.link_latency_us, system.nic_latency_us) == (0.93625, 1.0)


def test_infragraph(tmp_path: Path) -> None:
    """Accelerators, instances and links by name; gigabits become gigabytes."""
    system, origin = load_back(tmp_path, json.dumps(INFRA))
    assert origin == "infragraph"
    assert (system.ranks, system.node_size, system.link_GBps, system.nic_GBps) == (32, 8, 450, 50)
    assert system.nic_latency_us == 0.5


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("- 1", "expected the keys"),
        ("a: 1", "none of aiconfigurator"),
        ("a: [1", "not YAML"),
        (AIC.replace("mem_bw: 4.8e12, ", ""), "mem_bw is missing"),
        (AIC.replace("4.8e12", "fast"), "mem_bw is missing or not a number"),
        (AIC.replace("num_gpus_per_node: 8", "num_gpus_per_node: 0"), "at least 1"),
        (AIC.replace("bfloat16_tc_flops: 9.89e14, ", ""), "bfloat16_tc_flops"),
        (ASTRA.replace("[ 8, 4 ]", "[ 8 ]"), "npus_count has 1 entries"),
        (ASTRA.replace("[ Switch, Switch ]", "[ Switch, Donut ]"), "'Donut'"),
        (ASTRA.replace("[ Switch, Switch ]", "[ Ring, Switch ]"), "torus:1xN"),
        ("infrastructure: {devices: []}", "devices is missing or empty"),
        (json.dumps(INFRA).replace("nvlink", "wire"), "no link with a bandwidth"),
        (json.dumps(INFRA).replace('"type": "xpu"', '"type": "cpu"').replace('"xpu"', '"c"'),
         "no device"),
    ],
)  # fmt: skip
def test_bad_files(text: str, message: str, tmp_path: Path) -> None:
    """What is missing or wrong is an input error with the key."""
    path = tmp_path / "mine.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=message):
        import_system(path)
