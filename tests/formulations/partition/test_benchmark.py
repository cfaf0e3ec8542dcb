from __future__ import annotations

import benchmarks.partitioning as case


def test_without_the_other_partitioner_ours_stands_alone(monkeypatch, tmp_path):
    """Where Mt-KaHyPar or the data is not there, the case says so and prints what it can."""
    (tmp_path / "hypergraphs").mkdir()
    (tmp_path / case.GRAPH).write_text("3 6\n1 2\n3 4 5\n6 1 2\n")
    monkeypatch.setenv("MOEPLACE_DATA", str(tmp_path))
    monkeypatch.setattr(case, "_engine", lambda: None)
    monkeypatch.setattr(case, "GRAPH_S", (0.01,))
    monkeypatch.setattr(case, "SEEDS", (2,))
    shown = case.report(quick=True)
    assert case.MISSING in shown
    assert f"{case.TRACE} is not there" in shown
    assert "| 4 parts, 2 seeds | 0.01 | 2 |" in shown
