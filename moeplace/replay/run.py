"""One policy on its way through the windows: decide, move, be scored."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from moeplace.placement import evaluate
from moeplace.replay.maps import placement_of
from moeplace.replay.outcome import TERMS, PolicyRun, Series
from moeplace.replay.policy import Situation
from moeplace.replay.registry import load_policy, parse_policy
from moeplace.replay.windows import shares

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from moeplace.placement import Problem
    from moeplace.replay.policy import Bench, Decision
    from moeplace.replay.scorer import LayerTimes
    from moeplace.replay.settings import Settings


class PolicyReplay:
    """A policy, the map it has in use, and what is on its way.

    Parameters
    ----------
    text
        Name with settings.
    bench, settings
        The replay.
    known
        (layers, experts) loads that the first map is made for.
    """

    def __init__(
        self, text: str, bench: Bench, settings: Settings, known: NDArray[np.float64]
    ) -> None:
        self.info, values = parse_policy(text)
        self._text, self._bench, self._settings = text, bench, settings
        self._policy = load_policy(self.info)(bench, **values)
        self.table = np.ascontiguousarray(self._policy.start(shares(known)), np.int32)
        self._extra: NDArray[np.float64] | None = None
        self._local: NDArray[np.bool_] | None = None
        self._coming: Decision | None = None
        self._left_s = 0.0
        self._series = Series()

    def window(
        self,
        number: int,
        load: NDArray[np.float64],
        estimate: NDArray[np.float64],
        exact: Problem | None = None,
    ) -> NDArray[np.float64]:
        """Decide, move, and score a window; return (layers,) seconds of its last step.

        Parameters
        ----------
        number
            Of the window.
        load, estimate
            (layers, experts) its shares, and those expected.
        exact
            The problem with the window's own token sets, None to count expected copies.
        """
        waited = 0.0
        moved, nbytes = 0, 0.0
        if self._coming is None:
            seen = load if self.info.sees_window else estimate
            decision = self._policy.decide(Situation(number, seen, self.table))
            if decision is not None and decision.free:
                self._use(decision)
            elif decision is not None:
                fetches = decision.fetches
                if fetches is None:
                    fetches = self._bench.mover.fetches(self.table, decision.table)
                moved, nbytes = int(fetches.moved.sum()), fetches.nbytes
                if self._settings.migration == "overlap" and moved:
                    self._coming, self._left_s = decision, fetches.seconds
                else:
                    waited = fetches.seconds
                    self._use(decision)
        times, part_before, before = self._with_arrival(load, exact)
        steps = self._settings.steps
        now = times.total_s if self._extra is None else times.total_s + self._extra
        mixed = (1 - part_before) * now + part_before * before
        series = self._series
        other_s = 1e-3 * self._settings.other_ms
        series.window_s.append(steps * (float(mixed.sum()) + other_s) + waited)
        series.exposed_s.append(waited)
        series.ratio.append(float(times.ratio.mean()))
        series.balancedness.append(float((1 / times.ratio).mean()))
        series.moved.append(moved)
        series.nbytes.append(nbytes)
        series.terms += steps * np.array([getattr(times, term).sum() for term in TERMS])
        return np.asarray(now if part_before < 1 else np.minimum(now, before))

    def _use(self, decision: Decision) -> None:
        self.table = np.ascontiguousarray(decision.table, np.int32)
        self._extra, self._local = decision.step_extra_s, decision.local

    def _with_arrival(
        self, load: NDArray[np.float64], exact: Problem | None
    ) -> tuple[LayerTimes, float, NDArray[np.float64]]:
        """Return times at the end of the window, the part of it with the map before, its times.

        Copies on their way have the links for as long as experts compute.
        """
        times = self.score(load, self.table, exact, self._local)
        if self._coming is None:
            return times, 0.0, times.total_s
        idle_s = self._settings.steps * float(times.compute_s.sum())
        if self._left_s > idle_s:
            self._left_s -= idle_s
            return times, 0.0, times.total_s
        part = self._left_s / idle_s if idle_s > 0 else 0.0
        before = times.total_s if self._extra is None else times.total_s + self._extra
        self._use(self._coming)
        self._coming = None
        return self.score(load, self.table, exact, self._local), part, before

    def score(
        self,
        load: NDArray[np.float64],
        table: NDArray[np.int32],
        exact: Problem | None,
        local: NDArray[np.bool_] | None = None,
    ) -> LayerTimes:
        """Return what a step takes with a map, copies counted on token sets if there are any."""
        times = self._bench.scorer.times(load, table, local=local)
        if exact is None or local is not None:
            return times
        score = evaluate(exact, placement_of(table, exact))
        return replace(times, dispatch_s=score.layer_dispatch_s, combine_s=score.layer_combine_s)

    def result(self) -> PolicyRun:
        """Return the numbers of all windows so far."""
        series = self._series
        return PolicyRun(
            policy=self._text,
            window_s=np.array(series.window_s),
            exposed_s=np.array(series.exposed_s),
            ratio=np.array(series.ratio),
            balancedness=np.array(series.balancedness),
            moved=np.array(series.moved, np.int64),
            nbytes=np.array(series.nbytes),
            terms_s=series.terms,
            final=self.table,
        )
