"""How long a map stays good on a trace, and how often a change pays."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from moeplace.errors import InputError
from moeplace.replay.fetches import Mover
from moeplace.replay.improver import Improver
from moeplace.replay.maps import best_table
from moeplace.replay.policy import Bench
from moeplace.replay.scorer import Scorer
from moeplace.replay.windows import shares

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from moeplace.placement import Problem
    from moeplace.replay.settings import Settings
    from moeplace.replay.windows import Windows

SCHEMA = "moeplace.horizon/1"
STARTS = 8  # maps that are let age


@dataclass(frozen=True)
class Age:
    """What maps of one age cost; means over the maps that got so old.

    Attributes
    ----------
    age
        Windows since the map was fitted.
    maps
        How many maps got so old.
    slower, worst
        Modelled step time over that of a map fitted on the window itself, less 1; mean, largest.
    moved, nbytes, move_s
        What improving the map for the window's loads copies.
    loss_s
        Seconds lost in a window of that age.
    """

    age: int
    maps: int
    slower: float
    worst: float
    moved: float
    nbytes: float
    move_s: float
    loss_s: float


@dataclass(frozen=True, eq=False)
class Advice:
    """How maps age.

    Attributes
    ----------
    ages
        By age, ascending from 0.
    every
        Windows between two changes with the smallest mean loss, 0 if none pays on this trace.
    loss_s
        Seconds lost a window with that interval: aged maps, and waiting for copies.
    never_s
        Seconds lost a window when the map is never changed, mean over the ages seen.
    """

    ages: tuple[Age, ...]
    every: int
    loss_s: float
    never_s: float
    windows: Windows
    settings: Settings
    communication: str

    def sentence(self) -> str:
        """Return the advice in words."""
        oldest = self.ages[-1]
        if not self.every:
            return (
                f"Keep the map: within {oldest.age} windows no change pays for its copies "
                f"(never changing loses {1e3 * self.never_s:.2f} ms a window)."
            )
        return (
            f"Change the map about every {self.every} windows ({self.every * self.settings.steps:,}"
            f" steps): {1e3 * self.loss_s:.2f} ms lost a window, copies included, against "
            f"{1e3 * self.never_s:.2f} ms when it is never changed."
        )

    def to_dict(self) -> dict[str, Any]:
        """Return what JSON shows."""
        return {
            "schema": SCHEMA,
            "windows": {
                "name": self.windows.name,
                "kind": self.windows.kind,
                "count": self.windows.count,
            },
            "settings": {"steps": self.settings.steps, "training": self.settings.training},
            "communication": self.communication,
            "every": self.every or None,
            "loss_s": self.loss_s,
            "never_s": self.never_s,
            "advice": self.sentence(),
            "rows": [
                {
                    "age": age.age,
                    "maps": age.maps,
                    "slower": age.slower,
                    "worst": age.worst,
                    "moved_replicas": age.moved,
                    "moved_GB": age.nbytes / 1e9,
                    "move_s": age.move_s,
                    "loss_s": age.loss_s,
                }
                for age in self.ages
            ],
        }


def advise(problem: Problem, windows: Windows, settings: Settings) -> Advice:
    """Fit maps at several windows, let them age, and find how often a change pays.

    A map fitted on one window is scored on windows 1, 2, 4, 8, … later, beside a map fitted on that
    window. Changing every N windows loses, a window, the mean over ages 1..N of what aged maps lose
    (linear between the ages seen) plus 1/N of the time for the copies of a map N windows old; the
    N with the smallest sum is advised, if that is less than never changing. Copies stop the steps.

    Raises
    ------
    InputError
        If there are fewer than two windows.
    """
    if len(windows) < 2:
        raise InputError("one window cannot show how maps age; cut more of them")
    scorer = Scorer(problem, training=settings.training)
    mover = Mover(problem, training=settings.training)
    bench = Bench(problem, scorer, mover, settings.steps, settings.horizon)
    improver = Improver(bench)
    lags = [1 << power for power in range(len(windows).bit_length()) if 1 << power < len(windows)]
    starts = sorted({round(i * (len(windows) - 2) / STARTS) for i in range(STARTS)})
    wanted = {start + lag for start in starts for lag in lags}
    maps: dict[int, NDArray[np.int32]] = {}
    seen: dict[int, list[tuple[float, float, float, float]]] = {lag: [] for lag in lags}
    for number, window in enumerate(windows):
        if number not in wanted and number not in starts:
            continue
        load = shares(window.load)
        fresh = best_table(bench, load)
        fresh_s = float(scorer.times(load, fresh).total_s.sum())
        for start, table in maps.items():
            if number - start not in seen:
                continue
            old_s = float(scorer.times(load, table).total_s.sum())
            fetches = mover.fetches(table, improver.improved(load, table)[0])
            moved = float(fetches.moved.sum())
            seen[number - start].append((old_s / fresh_s - 1, moved, fetches.seconds, old_s))
        if number in starts:
            maps[number] = fresh
    ages = _ages(seen, settings.steps, mover.expert_bytes)
    every, loss_s, never_s = best_interval(ages)
    dedup = problem.dedup != "none"
    return Advice(
        ages=ages,
        every=every,
        loss_s=loss_s,
        never_s=never_s,
        windows=windows,
        settings=settings,
        communication="expected, a token's experts independent but for their number"
        if dedup
        else "exact from loads (one copy per token and expert)",
    )


def _ages(
    seen: dict[int, list[tuple[float, float, float, float]]], steps: int, expert_bytes: float
) -> tuple[Age, ...]:
    ages = [Age(0, STARTS, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)]
    for lag, found in seen.items():
        if not found:
            continue
        slower, moved, seconds, old_s = (np.array(column) for column in zip(*found, strict=True))
        lost = steps * old_s * slower / (1 + slower)
        ages.append(
            Age(
                lag,
                len(found),
                float(slower.mean()),
                float(slower.max()),
                float(moved.mean()),
                float(moved.mean()) * expert_bytes,
                float(seconds.mean()),
                float(lost.mean()),
            )
        )
    return tuple(ages)


def best_interval(ages: tuple[Age, ...]) -> tuple[int, float, float]:
    """Return N with the smallest loss a window (0 if never changing is best), it, and never's.

    Parameters
    ----------
    ages
        By age, ascending from 0.
    """
    known = np.array([age.age for age in ages], np.float64)
    every = np.arange(1, int(known[-1]) + 1)
    loss = np.interp(every, known, [age.loss_s for age in ages])
    moving = np.interp(every, known, [age.move_s for age in ages])
    mean = np.cumsum(loss) / every
    total = mean + moving / every
    best = int(total.argmin())
    if total[best] >= mean[-1]:
        return 0, float(mean[-1]), float(mean[-1])
    return int(every[best]), float(total[best]), float(mean[-1])
