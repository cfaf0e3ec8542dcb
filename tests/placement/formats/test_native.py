from __future__ import annotations

import json

import numpy as np
import pytest

from moeplace.errors import InputError
from moeplace.placement.formats import read_metadata, read_placement, save_placement
from moeplace.placement.placement import Placement

METADATA = {"model": "déjà", "system": "wafer", "objective": {"name": "time", "value": 1.5e-3}}


@pytest.fixture
def odd():
    """Return a placement with empty slots, unequal ranks, a duplicate and a missing expert."""
    return Placement(
        np.array([[0, -1, 2, 2, 1], [3, 0, -1, -1, 1]]), np.array([0, 0, 1, 1, 1]), 5, 3, (7, 3)
    )


@pytest.mark.parametrize("suffix", [".json", ".npz"])
def test_odd_placement_comes_back(tmp_path, odd, same, suffix):
    """Native files keep what no engine could load, and the metadata."""
    path = tmp_path / f"p{suffix}"
    assert save_placement(odd, path, metadata=METADATA) == path
    assert same(read_placement(path), odd)
    assert read_metadata(path) == METADATA


@pytest.mark.parametrize("suffix", [".json", ".npz"])
def test_without_layer_ids_and_metadata(tmp_path, odd, same, suffix):
    """What is optional stays away."""
    path = tmp_path / f"p{suffix}"
    save_placement(odd.replace(layer_ids=None), path)
    assert same(read_placement(path), odd.replace(layer_ids=None))
    assert read_metadata(path) == {}


def test_json_has_the_documented_keys(tmp_path, odd):
    """The schema id and the key names are stable; a layer is one line."""
    save_placement(odd, tmp_path / "p.json", metadata={"model": "m"})
    text = (tmp_path / "p.json").read_text()
    assert json.loads(text) == {
        "schema": "moeplace.placement/1",
        "num_experts": 5,
        "num_ranks": 3,
        "layer_ids": [7, 3],
        "metadata": {"model": "m"},
        "rank_of_slot": [0, 0, 1, 1, 1],
        "expert_of_slot": [[0, -1, 2, 2, 1], [3, 0, -1, -1, 1]],
    }
    assert "    [3, 0, -1, -1, 1]\n" in text


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"schema": "moeplace.placement/2"}, "schema is 'moeplace.placement/2', expected"),
        ({"schema": None}, "schema is None"),
        ({"note": 1}, "unknown key 'note'"),
        ({"num_ranks": 0}, "key 'num_ranks': 0 is out of range"),
        ({"rank_of_slot": [0, 0, 1, 1]}, "'rank_of_slot': 4 entries, expected 5"),
        ({"rank_of_slot": [0, 1, 0, 1, 1]}, "ranks in order"),
        ({"rank_of_slot": [0, 0, 1, 1, 3]}, "rank_of_slot entry 4: 3 is out of range 0..2"),
        ({"layer_ids": [7]}, "'layer_ids': 1 entries, expected 2"),
        ({"expert_of_slot": [[0, 1, 2, 3, 4], [0]]}, "expert_of_slot row 1: 1 slots"),
        ({"expert_of_slot": [[0, 1, 2, 3, 5]]}, "expert_of_slot row 0, slot 4: expert 5"),
        ({"expert_of_slot": [[0, 1, 2, 3, -2]]}, "expert_of_slot row 0, slot 4: expert -2"),
        ({"metadata": []}, "'metadata': a mapping is expected"),
    ],
)
def test_wrong_json(tmp_path, odd, changes, message):
    """Mistakes are named by key, row and slot."""
    path = tmp_path / "p.json"
    save_placement(odd, path)
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
    with pytest.raises(InputError, match=message):
        read_placement(path, "native-json")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"schema": np.array("moeplace.placement/2")}, "expected 'moeplace.placement/1'"),
        ({"note": np.array(1)}, "unknown key 'note'"),
        ({"num_ranks": np.array([3])}, "'num_ranks'"),
        ({"num_experts": np.array(4.0)}, "'num_experts'"),
        ({"rank_of_slot": np.array([0, 0, 1, 1])}, "rank_of_slot has 4"),
        ({"expert_of_slot": np.full((2, 5), 2**40)}, "does not fit into 32 bits"),
        ({"metadata": np.array("[1]")}, "a mapping is expected"),
        ({"layer_ids": np.array([3])}, "1 layer ids for 2 rows"),
    ],
)
def test_wrong_npz(tmp_path, odd, changes, message):
    """Arrays of a wrong kind are named."""
    path = tmp_path / "p.npz"
    save_placement(odd, path)
    with np.load(path) as archive:
        arrays = {**archive, **changes}
    np.savez(path, **arrays)
    with pytest.raises(InputError, match=message):
        read_placement(path, "native-npz")


@pytest.mark.parametrize("suffix", [".json", ".npz"])
@pytest.mark.parametrize("metadata", [{"value": float("nan")}, {"value": object()}, {1: 2}])
def test_metadata_must_be_json(tmp_path, odd, suffix, metadata):
    """Metadata that cannot be read back is refused before writing."""
    with pytest.raises(InputError, match="metadata"):
        save_placement(odd, tmp_path / f"p{suffix}", metadata=metadata)
    assert not any(tmp_path.iterdir())


def test_other_ending(tmp_path, odd):
    """Only .json and .npz are written."""
    with pytest.raises(InputError, match="suffix"):
        save_placement(odd, tmp_path / "p.yaml")
