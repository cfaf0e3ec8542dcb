"""When a search ends: by time, by rounds, or by both."""

from __future__ import annotations

from dataclasses import dataclass, field

from moeplace.clock import monotonic


@dataclass
class Clock:
    """Budget of one search.

    Attributes
    ----------
    time_limit_s
        Seconds, None for no limit.
    max_rounds
        Rounds, None for no limit.
    rounds
        Rounds done so far.
    """

    time_limit_s: float | None
    max_rounds: int | None
    rounds: int = 0
    started: float = field(default_factory=monotonic)

    def remaining_s(self) -> float:
        """Return the seconds left, infinite without a limit."""
        if self.time_limit_s is None:
            return float("inf")
        return self.time_limit_s - (monotonic() - self.started)

    def out_of_time(self) -> bool:
        """Return whether the seconds are over."""
        return self.remaining_s() <= 0

    def done(self) -> bool:
        """Return whether no further round may start."""
        return self.out_of_time() or (
            self.max_rounds is not None and self.rounds >= self.max_rounds
        )

    def part(self, share: float) -> Clock:
        """Return a clock that ends after a share of the remaining time, with the same rounds."""
        left = None if self.time_limit_s is None else max(0.0, share * self.remaining_s())
        return Clock(left, self.max_rounds)

    def fraction(self) -> float:
        """Return the share of the budget that is used, by time or by rounds."""
        used = 0.0
        if self.max_rounds is not None:
            used = self.rounds / max(1, self.max_rounds)
        if self.time_limit_s is not None:
            used = max(used, 1.0 - self.remaining_s() / max(1e-9, self.time_limit_s))
        return used
