"""Readings of the clock: kept, played back, apart for every item of a pool."""

from __future__ import annotations

import time

import pytest

from moeplace import clock
from moeplace.errors import CheckFailedError
from moeplace.parallel import Workers, available_cores


def test_the_machine_tells_the_time():
    """Without readings the clock is the machine's."""
    before = time.monotonic(), time.time()
    now = clock.monotonic(), clock.wall()
    assert before[0] <= now[0] <= time.monotonic()
    assert before[1] <= now[1] <= time.time()
    assert not clock.kept()


def test_what_was_kept_is_played():
    """Both clocks say again what they said, in order; afterwards the machine's hold."""
    with clock.keeping() as readings:
        said = [clock.monotonic(), clock.wall(), clock.monotonic()]
        assert clock.kept()
        assert clock.played_readings() is None
    with clock.played(readings):
        assert [clock.monotonic(), clock.wall(), clock.monotonic()] == said
        assert clock.played_readings() is readings
        with pytest.raises(CheckFailedError, match="more often"):
            clock.monotonic()
    assert clock.monotonic() > said[2]


def _item(number):
    if number % 2:
        time.sleep(0.002)  # other threads go first
    return number, clock.monotonic(), clock.monotonic()


@pytest.mark.parametrize("jobs", [1, 3])
def test_every_item_has_its_own_stream(jobs):
    """With more or fewer threads every item reads what it read when the readings were kept."""
    with clock.keeping() as readings, Workers(3).started() as pool:
        first = [pool.map(_item, range(6)), pool.map(_item, range(2))]
        after = clock.monotonic()
    assert len(readings.streams) == 9
    with clock.played(readings), Workers(jobs).started() as pool:
        assert [pool.map(_item, range(6)), pool.map(_item, range(2))] == first
        assert clock.monotonic() == after


def test_items_are_made_where_the_work_is_handed_over():
    """Deadlines in the items are read in order by the one who hands them over."""

    def hand_over(pool):
        return pool.map(float, (clock.monotonic() for _ in range(20)))

    with clock.keeping() as readings, Workers(4).started() as pool:
        first = hand_over(pool)
    assert first == sorted(first)
    with clock.played(readings), Workers(4).started() as pool:
        assert hand_over(pool) == first


def test_other_processes_are_lost():
    """What other processes do by their clocks is said to be lost."""
    with clock.keeping() as readings, Workers(1, "loky").started() as pool:
        assert pool.map(abs, [-1, 2]) == [1, 2]
    assert readings.lost == ["the clocks of other processes are not kept"]


def test_cores_are_those_of_then():
    """A search that is played reckons with the cores it had."""
    with clock.keeping() as readings:
        assert readings.cores == available_cores()
    readings.cores = 77
    with clock.played(readings):
        assert available_cores() == 77
    assert available_cores() != 77
