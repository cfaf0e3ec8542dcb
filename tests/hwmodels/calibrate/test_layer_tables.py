"""Expert kernels from the sweeps of a layer benchmark."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from moeplace.errors import InputError
from moeplace.hwmodels.calibrate.expert_fits import fit_expert_kernels
from moeplace.hwmodels.calibrate.tables import read_table

if TYPE_CHECKING:
    from pathlib import Path


def document() -> dict[str, Any]:
    """Return sweeps of experts that take 30 µs, or 0.125 µs a row where that is more."""
    shape = {"hidden": 7168, "moe_intermediate": 2048, "experts": 256, "topk": 8, "dtype": "bf16"}
    sweep = [
        {"experts": e, "tokens_per_expert": n, "total_us": [20 + e * max(30.0, n / 8), 1.0]}
        for e in (4, 5, 8, 32)
        for n in (1, 64, 128, 256, 512, 1024)
    ]
    return {
        "meta": {"hardware": {"name": "NVIDIA H200"}, "shape": shape},
        "calib": {"grouped_uniform": sweep},
    }


def save(folder: Path, what: Any) -> Path:
    """Write a JSON file."""
    path = folder / "run.json"
    path.write_text(json.dumps(what), encoding="utf-8")
    return path


def test_points_of_a_sweep(tmp_path: Path) -> None:
    """Rows become tokens; 5 experts do not divide 256; prefill starts beyond 128 rows."""
    table = read_table(save(tmp_path, document()))
    assert {point.ranks for point in table.expert} == {64, 32, 8}
    assert len([p for p in table.expert if p.phase == "decode"]) == 18
    prefill = [p for p in table.expert if p.phase == "prefill"]
    assert {p.tokens for p in prefill} == {256 * 32, 512 * 32, 1024 * 32}
    first = table.expert[0]
    assert (first.system, first.tokens, first.dtype) == ("h200-sxm", 32, "bf16")
    assert first.measured_us == 140.0


def test_constants_of_a_sweep(tmp_path: Path) -> None:
    """The fit finds what an expert's weights and a row cost."""
    fits = {
        f.phase: f for f in fit_expert_kernels(read_table(save(tmp_path, document())).expert, "")
    }
    assert fits["decode"].kernel.weight_us == pytest.approx(30, rel=0.1)
    assert fits["decode"].kernel.row_us == pytest.approx(0.125, rel=0.1)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda d: d.pop("meta"), "'meta' is missing"),
        (lambda d: d["meta"]["hardware"].update(name="Tin box"), "Tin box"),
        (lambda d: d["calib"].pop("grouped_uniform"), "'grouped_uniform' is missing"),
        (lambda d: d["calib"].update(grouped_uniform=[3]), "run.json"),
    ],
)
def test_damaged_files(damage: Any, message: str, tmp_path: Path) -> None:
    """What is missing is an input error that names it."""
    broken = document()
    damage(broken)
    with pytest.raises(InputError, match=message):
        read_table(save(tmp_path, broken))
    (tmp_path / "text.json").write_text("{", encoding="utf-8")
    with pytest.raises(InputError, match="not JSON"):
        read_table(tmp_path / "text.json")
