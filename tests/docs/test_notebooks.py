from __future__ import annotations

import json
from importlib.util import find_spec
from typing import TYPE_CHECKING

import pytest

from tests.docs.pages import ROOT, page_id

if TYPE_CHECKING:
    from pathlib import Path

NOTEBOOKS = sorted(ROOT.glob("examples/*.ipynb"))


def test_there_are_notebooks() -> None:
    """The three that the documentation names exist."""
    assert {path.stem for path in NOTEBOOKS} == {
        "drift_and_rebalancing",
        "first_placement",
        "heuristics_against_optimum",
    }


@pytest.mark.parametrize("path", NOTEBOOKS, ids=page_id)
def test_notebooks_are_stripped(path: Path) -> None:
    """Stored without outputs and counters, so that a change shows what was written; and valid."""
    notebook = json.loads(path.read_text(encoding="utf-8"))
    cells = notebook["cells"]
    assert cells[0]["cell_type"] == "markdown"
    assert "".join(cells[0]["source"]).startswith("# ")
    for cell in cells:
        if cell["cell_type"] == "code":
            assert cell["outputs"] == []
            assert cell["execution_count"] is None
            compile("".join(cell["source"]), page_id(path), "exec")


@pytest.mark.slow
@pytest.mark.skipif(
    find_spec("nbclient") is None or find_spec("ipykernel") is None,
    reason="the extra `notebooks` is not installed",
)
@pytest.mark.filterwarnings("default")  # of the notebook machinery, not ours
@pytest.mark.parametrize("path", NOTEBOOKS, ids=page_id)
def test_notebooks_run(path: Path, tmp_path: Path) -> None:
    """From first to last cell without an error, each code cell with something to see."""
    import nbformat
    from nbclient import NotebookClient

    notebook = nbformat.read(path, as_version=4)
    NotebookClient(
        notebook, timeout=300, kernel_name="python3", resources={"metadata": {"path": tmp_path}}
    ).execute()
    for cell in notebook.cells:
        if cell.cell_type == "code":
            assert any(
                output.output_type in ("stream", "display_data", "execute_result")
                for output in cell.outputs
            ), cell.source
            assert all(output.get("name") != "stderr" for output in cell.outputs), cell.outputs
