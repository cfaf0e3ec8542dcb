"""Layers timed on GPUs, and small made-up ones."""

from __future__ import annotations

import copy
import json
from collections import defaultdict
from pathlib import Path
from statistics import fmean
from typing import Any

import pytest

from moeplace.errors import InputError
from moeplace.hwmodels.calibrate.layers import mean_tau, validate_layers
from moeplace.hwmodels.calibrate.statistics import summarize

OWN = Path(__file__).parents[3] / "benchmarks" / "gpu" / "results" / "h200"


@pytest.mark.parametrize("own", [False, True])
def test_layers_of_the_h200(own: bool, request: pytest.FixtureRequest) -> None:
    """Sweeps alone predict both regimes within 5 % in the median and rank placements."""
    shared = None if own else request.getfixturevalue("shared_data")
    report = validate_layers(OWN if shared is None else shared / "measured" / "h200_ep_layer")
    assert not report.not_modelled
    for decode in (True, False):
        rows = [row for row in report.rows if (row.tokens_per_rank <= 128) == decode]
        errors = summarize([r.predicted_us for r in rows], [r.measured_us for r in rows])
        assert errors.count >= 100
        assert errors.median <= 0.05
        cells = defaultdict(list)
        for (_, trace, tokens, _, _), tau in report.taus.items():
            if (tokens <= 128) == decode:
                cells[trace, tokens].append(tau)
        assert fmean(fmean(each) for each in cells.values()) >= 0.95
    tau = mean_tau(report)
    assert tau is not None
    assert tau >= 0.95


def machine() -> dict[str, Any]:
    """Return a machine whose expert takes 10 µs + 0.5 µs a row, 1 µs per MB moved."""

    def gemm(counts: list[int]) -> dict[str, Any]:
        time = sum(10 + 0.5 * n for n in counts if n)
        return {"gemm1_us": [0.6 * time], "gemm2_us": [0.4 * time], "swiglu_us": [2.0],
                "total_us": [time + 2.0], "rows": sum(counts), "experts": len(counts)}  # fmt: skip

    layer = {
        "trace": "t", "tokens_per_rank": 64, "mode": "dedup", "policy": "even", "world": 2,
        "slots": 4, "regime": "emulated", "row_bytes": 1000, "repeat": 0,
        "rows_sent": [[32, 32], [32, 32]],
    }  # fmt: skip
    layers = []
    for name, pairs in (("a", [[64, 64], [64, 64]]), ("b", [[128, 0], [128, 0]])):
        time = max(sum(10 + 0.5 * n for n in rank if n) for rank in pairs) + 6.4
        entry = {**layer, "placement": name, "pairs_per_slot": pairs}
        layers.append({**entry, "emulated": {"compute": {"max_us": time}}})
    return {
        "meta": {"world": 1, "hardware": {"name": "toy"}},
        "calib": {
            "hbm_copy": [{"mib": m, "per_rank_us": [2 * m * 2**20 / 1e6]} for m in (64, 256)],
            "grouped_uniform": [
                {**gemm([n] * 4), "tokens_per_expert": n} for n in (1, 16, 64, 128, 256)
            ],
            "grouped_skewed": [{**gemm([7, 90, 0, 31]), "counts": [7, 90, 0, 31]}],
        },
        "ep_emulated": layers,
    }


def save(folder: Path, document: Any) -> None:
    (folder / "run.json").write_text(json.dumps(document), encoding="utf-8")


def test_a_machine_that_follows_the_model(tmp_path: Path) -> None:
    """Times made by the model are predicted within 1 %, and the faster placement is first."""
    save(tmp_path, machine())
    report = validate_layers(tmp_path)
    assert len(report.rows) == 2
    for row in report.rows:
        assert row.predicted_us == pytest.approx(row.measured_us, rel=0.01)
    assert mean_tau(report) == 1.0


def test_layer_times_are_not_fitted(tmp_path: Path) -> None:
    """Layers that take ten times as long change no prediction."""
    save(tmp_path, machine())
    before = [row.predicted_us for row in validate_layers(tmp_path).rows]
    slow = copy.deepcopy(machine())
    for entry in slow["ep_emulated"]:
        entry["emulated"]["compute"]["max_us"] *= 10
    save(tmp_path, slow)
    assert [row.predicted_us for row in validate_layers(tmp_path).rows] == before


def test_repeats_share_their_loads(tmp_path: Path) -> None:
    """A repeat without loads uses those of the first run; noise widens the margin of τ."""
    document = machine()
    for entry in list(document["ep_emulated"]):
        again = copy.deepcopy(entry)
        again |= {"repeat": 1, "pairs_per_slot": None}
        again["emulated"]["compute"]["max_us"] *= 3
        document["ep_emulated"].append(again)
    save(tmp_path, document)
    report = validate_layers(tmp_path)
    by_run = {(row.placement, row.repeat): row.predicted_us for row in report.rows}
    assert by_run["a", 0] == by_run["a", 1]
    assert mean_tau(report) is None


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda d: d.pop("ep_emulated"), "no JSON file with timed layers"),
        (lambda d: d["calib"].pop("grouped_uniform"), "grouped_uniform"),
        (lambda d: d["calib"].pop("hbm_copy"), "'shape' is missing"),
        (lambda d: d["ep_emulated"][0].pop("rows_sent"), "'rows_per_rank' is missing"),
        (lambda d: d["ep_emulated"][0].update(row_bytes="wide"), "run.json"),
        (lambda d: d["ep_emulated"][0]["emulated"]["compute"].update(max_us=0), "max_us is 0"),
        (lambda d: d["calib"]["grouped_uniform"][0].update(total_us=-1), "total_us is -1"),
    ],
)
def test_damaged_files(damage: Any, message: str, tmp_path: Path) -> None:
    """What is missing is an input error that names it."""
    document = machine()
    damage(document)
    save(tmp_path, document)
    with pytest.raises(InputError, match=message):
        validate_layers(tmp_path)


def test_text_that_is_no_json(tmp_path: Path) -> None:
    """A file that is no JSON is named."""
    (tmp_path / "run.json").write_text("{", encoding="utf-8")
    with pytest.raises(InputError, match=r"run\.json: not JSON"):
        validate_layers(tmp_path)
