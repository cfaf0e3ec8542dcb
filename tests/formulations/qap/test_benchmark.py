from __future__ import annotations

from pathlib import Path

from benchmarks.qap import best_known, main

DATA = Path(__file__).parent / "data"


def test_benchmark_prints_a_table(capsys):
    """One row with found value and bound, `-` where no best known value is given."""
    assert main([str(DATA), "--time-limit", "0.5"]) == 0
    rows = [line for line in capsys.readouterr().out.splitlines() if line.startswith("| nug12")]
    assert len(rows) == 1
    cells = [cell.strip() for cell in rows[0].split("|")[1:-1]]
    assert cells[:5] == ["nug12", "12", "-", "578", "-"]
    assert 490 <= float(cells[5]) <= 578


def test_best_known_values(tmp_path):
    """From the file beside the data; a wrong one of the collection is corrected."""
    (tmp_path / "a.sln").write_text("3 12\n1 2 3\n")
    (tmp_path / "kra32.sln").write_text("32 88900\n")
    assert best_known(tmp_path / "a.dat") == 12.0
    assert best_known(tmp_path / "kra32.dat") == 88700.0
    assert best_known(tmp_path / "b.dat") is None


def test_folder_without_instances_is_an_error(tmp_path, capsys):
    """It says so, and leaves with the exit code of bad input."""
    assert main([str(tmp_path)]) == 3
    assert "no QAPLIB instances" in capsys.readouterr().err
