"""Waves of tiles, the slowest of many ranks, and the curve fitted to sweeps."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from moeplace.errors import InputError
from moeplace.hwmodels.calibrate.grouped_gemm import (
    Shape,
    expected_slowest_us,
    fit_gemm_curve,
)

H200 = Shape(hidden=7168, inter=2048, pairs=66)


def test_waves_by_hand() -> None:
    """Five pairs of wide tiles: 80 and 140 blocks on 66 places take two and three waves."""
    whole, exact = H200.waves(5, 256)
    assert whole == pytest.approx(2 + 3 * 2048 / 7168)
    assert exact == pytest.approx((80 + 140 * 2048 / 7168) / 66)
    unknown, same = Shape(7168, 2048, 0).waves(5, 256)
    assert unknown == same


def test_shape_of_a_file() -> None:
    """Shape and multiprocessors are read from the file's meta."""
    meta = {"shape": {"hidden": 4096, "moe_intermediate": 1536}, "hardware": {"sms": 132}}
    assert Shape.of({"meta": meta}) == Shape(4096, 1536, 66)
    assert Shape.of({}).pairs == 0


def test_the_slowest_of_many_ranks() -> None:
    """Against random drawings; one rank or no spread is the prediction itself."""
    rng = np.random.default_rng(0)
    mean, spread = np.array([100.0, 100.0, 97.0, 60.0]), np.array([3.0, 3.0, 5.0, 2.0])
    drawn = (mean + spread * rng.standard_normal((200_000, 4))).max(axis=1).mean()
    assert expected_slowest_us(mean, spread) == pytest.approx(drawn, abs=0.05)
    assert expected_slowest_us(mean[:1], spread[:1]) == pytest.approx(100.0, abs=1e-3)
    assert expected_slowest_us(mean, np.zeros(4)) == 100.0


def sweeps() -> dict[str, Any]:
    """Return sweeps of a chip whose waves take 30 µs with small and 70 µs with large tiles."""

    def time(counts: list[int]) -> float:
        rows = np.array(counts)
        wide = rows.sum() // rows.size > 128
        side, cost = (256, 70.0) if wide else (128, 30.0)
        return 20 + cost * H200.waves(float(np.ceil(rows / side).sum()), side)[0]

    rng = np.random.default_rng(0)
    skewed = [
        rng.multinomial(slots * mean, np.full(slots, 1 / slots)).tolist()
        for slots in (4, 5, 8, 9)
        for mean in (100, 128, 160, 400)
    ]
    return {
        "meta": {
            "shape": {"hidden": 7168, "moe_intermediate": 2048},
            "hardware": {"sms": 132},
        },
        "calib": {
            "grouped_uniform": [
                {"tokens_per_expert": n, "experts": e, "total_us": [time([n] * e)]}
                for e in (4, 8, 9, 32)
                for n in (1, 16, 64, 100, 128, 160, 256, 300, 512)
            ],
            "grouped_skewed": [{"counts": each, "total_us": time(each)} for each in skewed],
        },
    }


def test_a_chip_with_waves_is_recovered() -> None:
    """Knee and waves are found; a mean just above the knee still has small tiles."""
    curve = fit_gemm_curve([sweeps()])
    assert curve.knee == 128
    assert max(curve.spread) < 0.01
    five = curve.predict_us(np.full(5, 200.0))
    four = curve.predict_us(np.full(4, 200.0))
    assert five == pytest.approx(20 + 70 * (2 + 3 * 2048 / 7168), rel=0.01)
    assert four == pytest.approx(20 + 70 * (1 + 2 * 2048 / 7168), rel=0.01)
    just_above = np.array([128.0, 128.0, 129.0, 128.0])  # integer division: 128
    assert curve.predict_us(just_above) == pytest.approx(20 + 30 * (3 + 5 * 2048 / 7168), rel=0.01)


def test_too_few_sweeps() -> None:
    """Fewer than three row counts are an input error that names the sweep."""
    document = sweeps()
    document["calib"]["grouped_uniform"] = document["calib"]["grouped_uniform"][:2]
    with pytest.raises(InputError, match="grouped_uniform"):
        fit_gemm_curve([document])
