from __future__ import annotations

import json
from functools import partial
from typing import TYPE_CHECKING

import moeplace
from tests.docs.pages import ROOT, load_script

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def test_place_deepseek_v3_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The example, on the smaller model and with a fast solver, compares and writes a map."""
    monkeypatch.setattr(moeplace, "solve", partial(moeplace.solve, solver="lpt"), raising=False)
    file = tmp_path / "experts.json"
    script = load_script(ROOT / "examples" / "place_deepseek_v3.py")
    script.main(
        ["--model", "deepseek-v2-lite", "--ranks", "8", "--redundant", "8", "-o", str(file)]
    )
    shown = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in shown[:4]] == ["contiguous", "random", "eplb", "moeplace"]
    assert shown[4].startswith("gap to the proven bound: ")
    assert "--init-expert-location" in shown[-1]
    rows = json.loads(file.read_text())["physical_to_logical_map"]
    assert [len(row) for row in rows] == [72] * 27
