"""Importers registered from outside the package."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

import moeplace
from moeplace.errors import InputError, UsageError
from moeplace.parallel import Workers
from moeplace.traces import detect_format, import_trace
from moeplace.traces.importers.registry import importers, unregister_importer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MODULE = """
import numpy as np
import moeplace

def recognizes(path):
    return path.is_file() and path.read_bytes()[:4] == b"#mine"[:4]

def read(path, *, num_experts=None, name=None):
    rows = [[int(c, 16) for c in line] for line in path.read_text().split()[1:]]
    ids = np.array(rows)[:, :, None]
    return moeplace.RoutingTrace.from_arrays(ids, num_experts or 16, name=name)
"""


@pytest.fixture
def recording(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Return a file of a format that is registered meanwhile."""
    (tmp_path / "mine_format.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    moeplace.register_importer("mine", "mine_format", summary="a digit a layer")
    (tmp_path / "tokens.txt").write_text("#mine\n07\n1f\n")
    yield tmp_path / "tokens.txt"
    unregister_importer("mine")


def test_a_registered_importer_is_one(recording: Path) -> None:
    """Its files are recognized and read, by content or by name."""
    assert detect_format(recording) == "mine"
    for format in (None, "mine"):
        trace = moeplace.load_trace(recording, format)
        np.testing.assert_array_equal(trace.expert_ids[:, :, 0], [[0, 7], [1, 15]])
    assert next(iter(importers())) == "mine"


def test_a_registered_importer_streams(recording: Path, tmp_path: Path) -> None:
    """Processes that never registered it read its files too."""
    import_trace([recording], tmp_path / "out", workers=Workers(2, "loky"))
    stored = moeplace.load_trace(tmp_path / "out")
    np.testing.assert_array_equal(stored.expert_ids[:, :, 0], [[0, 7], [1, 15]])


def test_what_cannot_be_registered() -> None:
    """Names of the package are refused, and so is forgetting what was not registered."""
    with pytest.raises(UsageError, match="'npz' comes with moeplace"):
        moeplace.register_importer("npz", "mine_format")
    with pytest.raises(UsageError, match="'mine' was not registered"):
        unregister_importer("mine")


def test_forgotten_importers_read_nothing(recording: Path) -> None:
    """After it is forgotten, nobody knows the file."""
    unregister_importer("mine")
    with pytest.raises(InputError, match="cannot tell what this holds"):
        moeplace.load_trace(recording)
    moeplace.register_importer("mine", "mine_format")
