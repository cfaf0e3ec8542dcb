"""The same answer in the same order, whoever does the work."""

from __future__ import annotations

import pytest

from moeplace.errors import BackendMissingError, InputError
from moeplace.parallel import Workers, parallel_map


def square(number: int) -> int:
    return number * number


@pytest.mark.parametrize("engine", ["threads", "loky"])
@pytest.mark.parametrize("jobs", [1, 2])
def test_results_come_in_order(engine: str, jobs: int) -> None:
    """Engine and number of workers leave no trace."""
    assert parallel_map(square, range(7), jobs=jobs, engine=engine) == [0, 1, 4, 9, 16, 25, 36]


def fail(number: int) -> int:
    raise InputError(f"item {number} is bad")


@pytest.mark.parametrize("engine", ["threads", "loky"])
def test_an_error_keeps_its_kind(engine: str) -> None:
    """What a worker raises arrives as it was."""
    with pytest.raises(InputError, match="is bad"):
        parallel_map(fail, [3], jobs=2, engine=engine)


@pytest.mark.parametrize(
    "fields, words",
    [
        ({"engine": "spark"}, "unknown engine 'spark'"),
        ({"jobs": 0}, "at least 1"),
        ({"engine": "dask"}, "needs the address"),
        ({"scheduler": "tcp://localhost:1"}, "has no scheduler"),
    ],
)
def test_what_makes_no_sense_is_refused(fields: dict[str, object], words: str) -> None:
    """Before anything is started."""
    with pytest.raises(InputError, match=words):
        Workers(**fields)  # type: ignore[arg-type]


def test_a_scheduler_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """Says so, or that the package is missing."""
    monkeypatch.setattr("moeplace.parallel.CONNECT_S", 0.5)
    with pytest.raises((InputError, BackendMissingError), match="dask"):
        parallel_map(square, [1], engine="dask", scheduler="tcp://127.0.0.1:9")
