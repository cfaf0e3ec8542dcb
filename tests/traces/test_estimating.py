from __future__ import annotations

import itertools
import json

import numpy as np
import pytest

from moeplace.errors import InputError, UsageError
from moeplace.traces.estimating import estimate_import
from moeplace.traces.importers.options import ImportOptions


@pytest.fixture
def tree(tmp_path):
    """Return a folder of twenty queries."""
    rng = np.random.default_rng(0)
    for number in range(20):
        rows = [rng.choice(12, 3, replace=False).tolist() for _ in range(50)]
        path = tmp_path / "tree" / "s" / f"{number}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps([{"1": rows, "2": rows}], indent=4))
    return tmp_path / "tree"


def size_of(folder):
    """Return the bytes of all files below a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*.json"))


def estimate(tree, **changes):
    """Estimate with a clock that says two seconds for a reading."""
    ticks = itertools.count(0, 2.0)
    options = ImportOptions(num_experts=12)
    return estimate_import([tree], options=options, clock=lambda: next(ticks), **changes)


def test_time_is_rounds_of_parts(tree):
    """Seven parts on two machines of two workers are two rounds, a worker's rate cut by 15 %."""
    size = size_of(tree)
    found = estimate(tree, machines=2, jobs=2, size_bytes=7 << 20, part_bytes=1 << 20)
    assert (found.parts, found.sample_bytes, found.sample_s) == (7, size, 2.0)
    rate = size / 2.0
    assert found.bytes_per_cpu_s == rate
    assert found.wall_s == pytest.approx(2 * (1 << 20) / (0.85 * rate))
    assert found.cpu_s == pytest.approx((7 << 20) / (0.85 * rate))
    assert found.read_bytes_per_s == pytest.approx(4 * 0.85 * rate)
    assert 0 < found.parquet_bytes < 7 << 20
    assert not list(tree.parent.glob("*.partial"))


def test_slow_storage_decides(tree):
    """Storage that gives a byte a second needs as many seconds as there are bytes."""
    found = estimate(tree, storage_bytes_per_s=1.0)
    assert found.wall_s == found.source_bytes == size_of(tree)


def test_the_sample_is_spread(tree, monkeypatch):
    """Of sources larger than a sample, files at even distances are read."""
    from moeplace.traces import estimating

    monkeypatch.setattr(estimating, "SAMPLE_BYTES", size_of(tree) // 4)
    found = estimate(tree)
    assert found.sample_bytes == pytest.approx(size_of(tree) / 4, rel=0.05)


def test_what_cannot_be_estimated_is_said(tree, tmp_path):
    """Numbers out of range and files of loads are refused."""
    with pytest.raises(UsageError, match="at least 1"):
        estimate(tree, machines=0)
    with pytest.raises(UsageError, match="storage"):
        estimate(tree, storage_bytes_per_s=0.0)
    loads = tmp_path / "loads.json"
    loads.write_text(json.dumps({"logical_count": [[1, 2, 3]]}))
    with pytest.raises(InputError, match="loads"):
        estimate_import([loads])
