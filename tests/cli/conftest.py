from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import pytest
from typer.testing import CliRunner

from moeplace.cli.main import app

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from typer.testing import Result

MODEL = """
name: tiny
num_layers: 3
moe_layers: 1-2
num_experts: 8
top_k: 2
hidden_size: 256
moe_intermediate_size: 512
total_params_B: 0.1
source: made for tests
"""
EXPERTS, TOP_K, LAYERS = 8, 2, 2


def random_ids(tokens: int, seed: int = 0) -> np.ndarray:
    """Return (tokens, layers, top_k) skewed ids, no expert twice in a token."""
    rng = np.random.default_rng(seed)
    keys = rng.random((tokens, LAYERS, EXPERTS)) * np.linspace(0.3, 1.0, EXPERTS)
    return np.argsort(keys, axis=2)[:, :, :TOP_K]


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    """Return a folder with a model, a trace of 20 requests, loads and an empty folder out."""
    (tmp_path / "tiny.yaml").write_text(MODEL)
    tokens = 400
    np.savez(
        tmp_path / "trace.npz",
        expert_ids=random_ids(tokens).astype(np.uint8),
        num_experts=EXPERTS,
        request=np.arange(tokens) // 20,
        phase=(np.arange(tokens) % 20 > 14).astype(np.uint8),
    )
    loads = np.random.default_rng(1).integers(1, 99, (LAYERS, EXPERTS))
    (tmp_path / "loads.json").write_text(json.dumps({"logical_count": loads.tolist()}))
    (tmp_path / "out").mkdir()
    return tmp_path


@pytest.fixture
def moeplace(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """Return a function that runs the command line in the folder `tiny`."""
    monkeypatch.chdir(tiny)
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tiny / "home"))
    runner = CliRunner()
    return lambda *arguments: runner.invoke(app, [str(argument) for argument in arguments])


@pytest.fixture
def problem() -> list[str]:
    """Return the options of a small problem with tokens."""
    return ["--model", "tiny.yaml", "--hw", "mesh:2x2", "--trace", "trace.npz"]


@pytest.fixture
def loads_problem() -> list[str]:
    """Return the options of a small problem with loads alone."""
    return ["--model", "tiny.yaml", "--hw", "mesh:2x2", "--trace", "loads.json"]
