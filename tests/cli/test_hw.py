"""hw validate, calibrate, estimate, import; sweep."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

HEADER = "source,hw,system,phase,op,ep,tokens_per_rank,metric,value,unit,note\n"


def test_validate_points(moeplace, tmp_path: Path) -> None:
    """The document has its five keys; what is not modelled has a reason."""
    path = tmp_path / "points.csv"
    path.write_text(
        HEADER
        + "a,H100,DeepEP,low_latency,dispatch,16,128,latency,102,us,\n"
        + "a,Abacus,DeepEP,low_latency,dispatch,16,128,latency,102,us,\n"
    )
    done = moeplace("hw", "validate", "--points", str(path), "--format", "json")
    document = json.loads(done.stdout)
    assert list(document) == ["median_ape", "p90_ape", "kendall_tau", "rows", "not_modelled"]
    (row,) = document["rows"]
    assert row["role"] == "held out"
    assert document["median_ape"] == pytest.approx(abs(row["predicted"] / 102 - 1))
    assert document["median_ape"] < 0.1
    assert "Abacus" in document["not_modelled"][0]["reason"]


def test_validate_a_mesh(moeplace) -> None:
    """The mesh is compared with packets; points that fill the links are counted."""
    document = json.loads(moeplace("hw", "validate", "mesh:3x3", "--format", "json").stdout)
    assert document["median_ape"] <= 0.10
    assert {row["role"] for row in document["rows"]} == {"held out", "apart"}
    assert "fill the links" in moeplace("hw", "validate", "mesh:2x2").stdout


def test_validate_wants_one_thing(moeplace, tmp_path: Path) -> None:
    """A system and points are two checks; a missing file or folder is an input error."""
    assert moeplace("hw", "validate", "h100-sxm", "--points", "x.csv").exit_code == 2
    assert moeplace("hw", "validate", "--points", str(tmp_path / "x.csv")).exit_code == 3
    assert moeplace("hw", "validate", "--layers", str(tmp_path)).exit_code == 3
    assert moeplace("hw", "validate", "h1000").exit_code == 3


def test_calibrate_and_use(moeplace, tmp_path: Path) -> None:
    """Constants fitted to a user's sweep are written, and solve scores with them."""
    sweep = tmp_path / "sweep.csv"
    rows = ["family,op,ranks,tokens_per_rank,time_us"]
    for op, bytes_ in (("dispatch", 7408), ("combine", 14336)):
        for ranks in (16, 32, 64):
            for tokens in (1, 8, 64, 256):
                kB = tokens * 8 * bytes_ * (1 - 8 / ranks) / 1e3
                rows.append(f"deepep-low-latency,{op},{ranks},{tokens},{40 + kB / 25}")
    sweep.write_text("\n".join(rows) + "\n")
    out = tmp_path / "mine.yaml"
    done = moeplace("hw", "calibrate", str(sweep), "--system", "h100-sxm", "-o", str(out),
                    "--format", "json")  # fmt: skip
    found = json.loads(done.stdout)
    assert [row["op"] for row in found] == ["combine", "dispatch"]
    assert all(row["error"]["median"] < 0.02 for row in found)
    assert found[0]["resources"]["pair_nic_kB"] == pytest.approx(1 / 25, rel=0.05)
    table = moeplace("hw", "calibrate", str(sweep), "--system", "h100-sxm").stdout
    assert "pair_nic_kB" in table

    def decode(*more: str) -> float:
        done = moeplace("solve", "--model", "deepseek-v2-lite", "--hw", "h100-sxm", "--ranks",
                        "16", "--phase", "decode", "--solver", "contiguous", "--format", "json",
                        *more)  # fmt: skip
        return json.loads(done.stdout)["score"]["dispatch_s"]

    assert decode("--calibration", str(out)) > 1.2 * decode("--calibration", "shipped")


def test_calibrate_says_where_a_row_is_wrong(moeplace, tmp_path: Path) -> None:
    """A wrong cell leaves with 3 and names the line."""
    path = tmp_path / "t.csv"
    path.write_text("family,op,ranks,tokens_per_rank,time_us\nnccl,alltoall,8,1,soon\n")
    done = moeplace("hw", "calibrate", str(path), "--system", "h100-sxm")
    assert done.exit_code == 3
    assert "line 2" in done.stderr


def test_estimate(moeplace) -> None:
    """Prefill and decode, every term, the in-situ factor shown."""
    done = moeplace("hw", "estimate", "--model", "deepseek-v3", "--hw", "h100-sxm", "--ranks",
                    "32", "--format", "json")  # fmt: skip
    prefill, decode = json.loads(done.stdout)
    assert prefill["tokens_per_s_per_gpu"] > decode["tokens_per_s_per_gpu"] > 100
    assert prefill["in_situ_factor"] == 1.5
    assert "in-situ factor" in moeplace("hw", "estimate", "--model", "deepseek-v3", "--hw",
                                        "h100-sxm").stdout  # fmt: skip


def test_import(moeplace, tmp_path: Path) -> None:
    """The printed system file loads."""
    path = tmp_path / "net.yml"
    path.write_text("topology: [Switch]\nnpus_count: [8]\nbandwidth: [400.0]\nlatency: [900]\n")
    out = tmp_path / "net-system.yaml"
    assert moeplace("hw", "import", str(path), "-o", str(out)).exit_code == 0
    facts = json.loads(moeplace("hw", "show", str(out), "--format", "json").stdout)
    assert facts["ranks"] == 8


def test_sweep(moeplace) -> None:
    """One row a point; what does not vary stands above the table."""
    words = ["sweep", "--model", "deepseek-v2-lite", "--hw", "wafer", "--link-GBps", "400,1700",
             "--redundant", "0,25", "-q"]  # fmt: skip
    rows = json.loads(moeplace(*words, "--format", "json").stdout)
    assert [(r["redundant"], r["link_GBps"]) for r in rows] == [
        (0, 400.0), (0, 1700.0), (25, 400.0), (25, 1700.0)
    ]  # fmt: skip
    assert rows[0]["layer_us"] > rows[1]["layer_us"]
    table = moeplace(*words).stdout
    assert "4 points" in table
    assert "model deepseek-v2-lite" in table
    assert moeplace("sweep", "--model", "deepseek-v2-lite", "--hw", "wafer", "--ranks",
                    "x").exit_code == 2  # fmt: skip


def test_pictures(moeplace, tmp_path: Path) -> None:
    """Plots are files, or an error that says what to install."""
    out = tmp_path / "map.png"
    done = moeplace("sweep", "--model", "deepseek-v2-lite", "--hw", "wafer", "--redundant", "0,25",
                    "--plot", str(out), "-q")  # fmt: skip
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        assert done.exit_code == 6
        assert "moeplace[plot]" in done.stderr
    else:
        assert out.read_bytes().startswith(b"\x89PNG")
