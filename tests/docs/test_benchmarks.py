from __future__ import annotations

import re
import sys

import pytest

from benchmarks.__main__ import main
from benchmarks.commands import _order
from benchmarks.registry import CASES
from benchmarks.timing import run_process
from tests.docs.pages import DOCS


def test_rebalance_case_prints_a_table(capsys: pytest.CaptureFixture[str]) -> None:
    """`python -m benchmarks --quick --only rebalance` prints where it ran and a full table."""
    assert main(["--quick", "--only", "rebalance"]) == 0
    shown = capsys.readouterr().out
    assert re.search(r"\d{4}-\d\d-\d\d, .* cores, .*moeplace \d", shown)
    rows = [line.split("|")[1:-1] for line in shown.splitlines() if line.startswith("| ")][2:]
    assert len(rows) == 6
    ours = [row for row in rows if "rebalance_experts" in row[0]]
    assert all(float(row[2]) <= float(row[3]) for row in rows), "above the bound"
    assert all(int(row[4]) == 0 for row in ours)


def test_processes_are_measured() -> None:
    """A process that takes memory is measured with that memory, one that fails stops the run."""
    done = run_process([sys.executable, "-c", "x = bytearray(80 << 20); print(len(x))"])
    assert done.stdout == f"{80 << 20}\n"
    assert done.peak_MiB > 80
    assert 0 < done.wall_s < 60
    with pytest.raises(SystemExit, match="boom"):
        run_process([sys.executable, "-c", "raise SystemExit('boom')"])


@pytest.mark.parametrize(("value", "said"), [(2.0, "yes"), (0.5, "**no**"), (5.0, "**no**")])
def test_a_wrong_order_is_shown(value: float, said: str) -> None:
    """A result below the bound or above the least baseline is not called in order."""
    score = {"step_time_s": value}
    document = {
        "problem": {"layers": 1},
        "objective": {"value": value, "lower_bound": 1.0, "gap": 0.1},
        "score": score,
        "baselines": {n: {"step_time_s": 4.0} for n in ("contiguous", "random", "eplb")},
    }
    assert _order(document)[-1] == said


def test_benchmarks_page_has_every_case() -> None:
    """docs/benchmarks.md quotes each case and says when and where it was measured."""
    text = (DOCS / "benchmarks.md").read_text(encoding="utf-8")
    for case in CASES.values():
        assert f"## {case.title}\n" in text
    assert re.search(r"Measured with `make bench`: \d{4}-\d\d-\d\d, .* 2 cores, ", text)
    assert "**no**" not in text
