"""Loads expected next, from the windows seen: the mean of a few, or an exponential average."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

import numpy as np

from moeplace.errors import UsageError
from moeplace.replay.windows import shares

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Estimator:
    """Estimates shares; every window counts alike, however many tokens it has.

    Parameters
    ----------
    text
        ``window:N``: the mean of the last N windows. ``ema:A``: x ← (1 − A) x + A · new,
        0 < A ≤ 1. ``ema:1`` and ``window:1`` are the last window.
    first
        (layers, experts) loads known beforehand; they count until windows have been seen, and fade
        out of an exponential average.

    Raises
    ------
    UsageError
        If the text is something else.
    """

    def __init__(self, text: str, first: NDArray[np.float64]) -> None:
        kind, _, value = text.partition(":")
        try:
            number = float(value)
        except ValueError:
            number = -1.0
        self._alpha = number if kind == "ema" else 0.0
        self._length = int(number) if kind == "window" else 0
        valid = 0 < number <= 1 if kind == "ema" else kind == "window" and number >= 1
        if not valid:
            raise UsageError(
                f"cannot estimate loads by {text!r}; use window:N or ema:A, 0 < A <= 1"
            )
        self._value = shares(first)
        self._kept: deque[NDArray[np.float64]] = deque()

    @property
    def value(self) -> NDArray[np.float64]:
        """(layers, experts) estimated shares."""
        return self._value

    def see(self, load: NDArray[np.float64]) -> None:
        """Take in a window."""
        fresh = shares(load)
        if self._alpha:
            self._value = (1 - self._alpha) * self._value + self._alpha * fresh
            return
        self._kept.append(fresh)
        if len(self._kept) > self._length:
            self._kept.popleft()
        self._value = sum(self._kept, np.zeros_like(fresh)) / len(self._kept)
