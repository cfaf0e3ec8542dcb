"""How a replay runs."""

from __future__ import annotations

from dataclasses import dataclass

from moeplace.errors import UsageError

MIGRATIONS = ("stop", "overlap")


@dataclass(frozen=True)
class Settings:
    """How a replay runs.

    Attributes
    ----------
    steps
        Steps that a window lasts; what a change of map costs is weighed against them.
    horizon
        Windows for which policies expect a map to serve.
    estimate
        How loads are estimated, see :class:`~moeplace.replay.estimate.Estimator`.
    migration
        ``stop``: serving waits for the copies. ``overlap``: copies use the links while experts
        compute, and the new map counts from the step at which they have arrived; what they take
        from memory bandwidth is not modelled.
    training
        Count backward pass, synchronization of replicas, and moved optimizer states.
    other_ms
        Milliseconds of a step outside of the MoE layers, the same for every policy.
    """

    steps: int = 100
    horizon: float = 10.0
    estimate: str = "ema:0.5"
    migration: str = "stop"
    training: bool = False
    other_ms: float = 0.0

    def __post_init__(self) -> None:
        if self.steps < 1 or not self.horizon > 0:
            raise UsageError("steps and horizon must be above 0")
        if not 0 <= self.other_ms < float("inf"):
            raise UsageError(f"other_ms is {self.other_ms}; it is at least 0")
        if self.migration not in MIGRATIONS:
            raise UsageError(f"migration {self.migration!r} is none of {', '.join(MIGRATIONS)}")
