from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from typer.testing import CliRunner

from moeplace.cli.main import app
from moeplace.cli.report.gather import gather

if TYPE_CHECKING:
    from pathlib import Path

    from moeplace.cli.report.gather import Gathered

MODEL = """
name: {name}
num_layers: 4
moe_layers: 1-3
num_experts: 8
top_k: 2
hidden_size: 256
moe_intermediate_size: 512
total_params_B: 0.1
source: made for tests
"""
EXPERTS, TOP_K, LAYERS, TOKENS = 8, 2, 3, 300


def write_inputs(folder: Path, name: str = "tiny") -> list[str]:
    """Write a model and a trace; return the options that name them."""
    (folder / "model.yaml").write_text(MODEL.format(name=name))
    rng = np.random.default_rng(0)
    keys = rng.random((TOKENS, LAYERS, EXPERTS)) * np.linspace(0.3, 1.0, EXPERTS)
    np.savez(
        folder / "trace.npz",
        expert_ids=np.argsort(keys, axis=2)[:, :, :TOP_K].astype(np.uint8),
        num_experts=EXPERTS,
        request=np.arange(TOKENS) // 20,
    )
    return ["--model", str(folder / "model.yaml"), "--trace", str(folder / "trace.npz")]


def run(*arguments: object) -> None:
    """Run the command line, which has to succeed."""
    done = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert done.exit_code == 0, done.output


@pytest.fixture(scope="session")
def solved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the result file of a small mesh with replicas and measured tokens."""
    folder = tmp_path_factory.mktemp("report")
    options = [*write_inputs(folder), "--hw", "mesh:2x3", "--redundant", 4, "--holdout", "none"]
    run("solve", *options, "--solver", "lpt", "--result", folder / "result.json", "-q")
    solvers = "lpt,random"
    run("compare", *options, "--solvers", solvers, "-o", folder / "compare.json", "-q")
    return folder / "result.json"


@pytest.fixture(scope="session")
def gathered(solved: Path) -> Gathered:
    """Return what a report of `solved` is made of."""
    return gather(solved)
