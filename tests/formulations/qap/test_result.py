from __future__ import annotations

import numpy as np
import pytest

from moeplace.errors import InputError
from moeplace.formulations.qap.qaplib import read_qaplib, read_qaplib_value
from moeplace.formulations.qap.result import QapResult, relative_gap


def result(cost: float, bound: float | None) -> QapResult:
    return QapResult(np.arange(3), cost, bound, "", 0, 0.0, 0)


def test_gap_conventions():
    """Relative to the cost's size; 0 where equal, 1 where only the cost is 0, None without."""
    assert result(100.0, 90.0).gap == pytest.approx(0.1)
    assert result(0.0, 0.0).gap == 0.0
    assert relative_gap(0.0, -5.0) == 1.0
    assert result(-90.0, -100.0).gap == pytest.approx(1.0 / 9.0)
    assert result(5.0, 0.0).gap == 1.0
    assert result(5.0, None).gap is None


def test_status():
    """Optimal is a gap of at most 1e-6."""
    assert result(1.0, 1.0 - 1e-7).status == "optimal"
    assert result(1.0, 0.9).status == "feasible"
    assert result(1.0, None).status == "feasible"


def test_qaplib_files(tmp_path):
    """Numbers may be split over lines as they like, with commas in solutions."""
    data, solution = tmp_path / "a.dat", tmp_path / "a.sln"
    data.write_text("2\n\n0 1 2\n3\n 4 5 6 7\n")
    solution.write_text(" 2 17\n 2, 1\n")
    first, second = read_qaplib(data)
    np.testing.assert_array_equal(first, [[0, 1], [2, 3]])
    np.testing.assert_array_equal(second, [[4, 5], [6, 7]])
    assert read_qaplib_value(solution) == 17.0


@pytest.mark.parametrize("text", ["", "2 1 2 3", "x 1", "0"])
def test_broken_qaplib_files_are_refused(tmp_path, text):
    """Too few numbers, or none, is one line that names the file."""
    file = tmp_path / "broken.dat"
    file.write_text(text)
    with pytest.raises(InputError, match=r"broken\.dat"):
        read_qaplib(file)
    with pytest.raises(InputError, match="absent"):
        read_qaplib_value(tmp_path / "absent.sln")
