"""Loads written for an engine are read back by the importer of the same name."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from moeplace.errors import InputError, UsageError
from moeplace.traces import Workload
from moeplace.traces.exporting import export_loads, load_formats
from moeplace.traces.importers.registry import detect_format, importers


@dataclass(frozen=True)
class SmallModel:
    """Six hidden layers, three of them with experts."""

    num_layers: int = 6
    moe_layers: tuple[int, ...] = (1, 2, 4)


def loads(seed=0, **changes):
    """Return whole loads of three layers and 8 experts."""
    load = np.random.default_rng(seed).integers(0, 1000, (3, 8))
    return Workload.from_loads(load, **{"top_k": 2, "layer_ids": (1, 2, 4), "name": "x"} | changes)


every = pytest.mark.parametrize("name", sorted(load_formats()))


@every
def test_round_trip(name, tmp_path):
    """The importer of that name is found by content and gives the same loads."""
    info = load_formats()[name]
    path = tmp_path / f"out{info.suffix}"
    given = loads()
    use = export_loads(given, path, name, model=SmallModel())
    assert use is None or str(path) in use
    assert detect_format(path) == name
    back = importers()[name].read(path)
    table = back.load
    if info.hidden_rows:
        assert table.shape[0] == 6
        assert not table[[0, 3, 5]].any()
        table = table[[1, 2, 4]]
    np.testing.assert_array_equal(table, given.load)
    if name == "tensorrt-llm":
        assert back.layer_ids == (1, 2, 4)
        assert back.top_k == 2


@every
def test_any_two_formats(name, tmp_path):
    """From each format to each other one, loads stay the same."""
    first = load_formats()[name]
    path = tmp_path / f"first{first.suffix}"
    export_loads(loads(), path, name, model=SmallModel())
    read = importers()[name].read(path)
    if first.hidden_rows:
        read = loads().replace(load=read.load[[1, 2, 4]])
    elif read.layer_ids is None:
        read = read.replace(layer_ids=(1, 2, 4))
    read = read.replace(top_k=2)
    for other, info in load_formats().items():
        target = tmp_path / f"second-{other}{info.suffix}"
        export_loads(read, target, other, model=SmallModel())
        back = importers()[other].read(target).load
        np.testing.assert_array_equal(back[[1, 2, 4]] if info.hidden_rows else back, loads().load)


@every
def test_wrong_ending(name, tmp_path):
    """A name with another ending is a usage error and nothing is written."""
    with pytest.raises(UsageError):
        export_loads(loads(), tmp_path / "x.txt", name, model=SmallModel())
    assert not any(tmp_path.iterdir())


def test_fractions_need_a_format_that_holds_them(tmp_path):
    """Loads that are no whole numbers are refused where the engine counts, kept elsewhere."""
    half = loads().replace(load=loads().load + 0.5)
    with pytest.raises(InputError, match="whole numbers"):
        export_loads(half, tmp_path / "x.pt", "sglang-recorder", model=SmallModel())
    export_loads(half, tmp_path / "x.json", "lmdeploy", model=SmallModel())
    back = importers()["lmdeploy"].read(tmp_path / "x.json")
    np.testing.assert_array_equal(back.load[[1, 2, 4]], half.load)


def test_layers_must_be_known(tmp_path):
    """Without layer ids and model, or with those of another model, nothing is written."""
    bare = loads(layer_ids=None)
    with pytest.raises(InputError, match="give model"):
        export_loads(bare, tmp_path / "x.json", "lmdeploy")
    with pytest.raises(InputError, match="3 rows are not the 2 MoE layers"):
        export_loads(bare, tmp_path / "x.json", "lmdeploy", model=SmallModel(6, (1, 2)))
    with pytest.raises(InputError, match="MoE layers"):
        export_loads(loads(), tmp_path / "x.json", "lmdeploy", model=SmallModel(3, (1, 2)))
    assert not any(tmp_path.iterdir())


def test_unknown_format(tmp_path):
    """A misspelled name gets a suggestion."""
    with pytest.raises(InputError, match="did you mean 'lmdeploy'"):
        export_loads(loads(), tmp_path / "x.json", "lmdeplo")
