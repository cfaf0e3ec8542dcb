"""The catalogue's constants against the measured tables they were derived from."""

from __future__ import annotations

import csv
from math import comb
from typing import TYPE_CHECKING

import numpy as np
import pytest

from moeplace.hwmodels import load_system
from moeplace.models import load_model

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import ArrayLike

DEEPSEEK = {"hidden_size": "7168", "num_experts": "256"}
TABLES = {
    "h100-sxm": "h100_sxm",
    "h200-sxm": "h200_sxm",
    "b200-sxm": "b200_sxm",
    "gb200-nvl72": "gb200",
}


def rows(folder: Path, name: str, **wanted: str) -> list[dict[str, str]]:
    with (folder / "measured" / f"{name}.csv").open(encoding="utf-8") as file:
        return [
            row
            for row in csv.DictReader(file)
            if all(row[key] == value for key, value in (DEEPSEEK | wanted).items())
        ]


def line(x: ArrayLike, y: ArrayLike) -> tuple[float, float]:
    """Fit y = a + b x with the least relative squares."""
    x, y = np.asarray(x, float), np.asarray(y, float)
    a, b = np.linalg.lstsq(np.c_[1 / y, x / y], np.ones_like(y), rcond=None)[0]
    return float(a), float(b)


def remote_ranks(ranks: int) -> float:
    """Return the expected distinct ranks besides its own that a token's 8 of 256 experts touch."""
    return (ranks - 1) * (1 - comb(256 - 256 // ranks, 8) / comb(256, 8))


@pytest.mark.parametrize("name", TABLES)
def test_decode_kernel(name: str, shared_data: Path) -> None:
    """Floor and weight streaming are those of the measured decode kernel within 3 %."""
    table = [
        (256 / int(row["moe_ep_size"]), float(row["latency"]) * 1e-3)
        for row in rows(shared_data, f"{TABLES[name]}_sglang_moe_generation", topk="8")
        if row["distribution"] == "uniform" and 128 <= int(row["num_tokens"]) <= 512
    ]
    floor_s, expert_s = line(*zip(*table, strict=True))
    a, b, _ = load_system(name).compute_constants(load_model("deepseek-v3"), "decode")
    assert b == pytest.approx(expert_s, rel=0.03)
    assert a == pytest.approx(floor_s, abs=1e-6)


@pytest.mark.parametrize("name", TABLES)
def test_prefill_kernel(name: str, shared_data: Path) -> None:
    """Floor and token rate are those of the measured prefill kernel within 1 %."""
    table = [
        (int(row["num_tokens"]) * 8 / int(row["moe_ep_size"]), float(row["latency"]) * 1e-3)
        for row in rows(shared_data, f"{TABLES[name]}_sglang_moe_context", topk="8")
        if row["distribution"] == "uniform"
        and int(row["num_tokens"]) >= 8192
        and int(row["moe_ep_size"]) <= 64
    ]
    floor_s, token_s = line(*zip(*table, strict=True))
    a, _, beta = load_system(name).compute_constants(load_model("deepseek-v3"), "prefill")
    assert beta == pytest.approx(token_s, rel=0.01)
    assert a == pytest.approx(floor_s, rel=0.01)


@pytest.mark.parametrize("name", ["h100-sxm", "h200-sxm", "b200-sxm"])
def test_normal_kernels_inside_a_node(name: str, shared_data: Path) -> None:
    """4,096 tokens at EP8 move at the usable link rate within 8 %, at few tokens cost alpha."""
    system = load_system(name, ranks=8)
    table = {
        int(row["num_token"]): row
        for row in rows(
            shared_data, f"{TABLES[name]}_deepep_normal_ep8", num_topk="8", dispatch_sms="24"
        )
    }
    for way, size in zip(("dispatch", "combine"), system.copy_bytes(7168), strict=True):
        rate = 4096 * remote_ranks(8) * size / (float(table[4096][f"{way}_transmit_us"]) * 1e-6)
        assert system.link_GBps * system.link_efficiency == pytest.approx(rate / 1e9, rel=0.08)
        floor_us = float(table[4][f"{way}_transmit_us"])
        assert system.alpha_us["prefill"][way] == pytest.approx(floor_us, rel=0.08)


def test_low_latency_kernels_between_nodes(shared_data: Path) -> None:
    """Alpha and the NIC rate predict EP16 to EP64 of the H100 within 7 % and 4 % on average."""
    table = rows(shared_data, "h100_sxm_deepep_ll_multinode", num_topk="8")
    for way, mean_error in (("dispatch", 0.07), ("combine", 0.04)):
        errors = []
        for row in table:
            ranks, tokens = 8 * int(row["node_num"]), int(row["num_token"])
            if ranks == 8 or tokens < 2:
                continue
            system = load_system("h100-sxm", ranks)
            size = system.copy_bytes(7168)[way == "combine"]
            remote = tokens * 8 * size * (ranks - 8) / ranks
            rate = system.nic_GBps * system.nic_efficiency * 1e3
            time_us = system.alpha_us["decode"][way] + remote / rate
            errors.append(abs(time_us / float(row[f"{way}_avg_t_us"]) - 1))
        assert len(errors) > 20
        assert np.mean(errors) < mean_error


@pytest.mark.parametrize(("way", "dtype"), [("dispatch", "fp8"), ("combine", "bfloat16")])
def test_nvlink_rack(way: str, dtype: str, shared_data: Path) -> None:
    """Bytes to distinct ranks explain the GB200 all-to-all within 10 % on average."""
    errors = []
    for row in rows(shared_data, "gb200_trtllm_alltoall", topk="8", moe_dtype=dtype):
        ranks, tokens = int(row["moe_ep_size"]), int(row["num_tokens"])
        if row["op_name"] != f"alltoall_{way}" or row["kernel_source"] != "NVLinkTwoSided":
            continue
        if row["distribution"] != "balanced" or ranks < 4 or tokens < 8:
            continue
        system = load_system("gb200-nvl72", ranks)
        size = system.copy_bytes(7168)[way == "combine"]
        rate = system.link_GBps * system.link_efficiency * 1e3
        time_us = system.alpha_us["decode"][way] + tokens * remote_ranks(ranks) * size / rate
        errors.append(abs(time_us / (float(row["latency"]) * 1e3) - 1))
    assert len(errors) > 20
    assert np.mean(errors) < 0.10
