from __future__ import annotations

from moeplace.clock import monotonic


class Budget:
    """What may still be spent: seconds, iterations, or both.

    Where iterations are limited nothing but the end may depend on the clock, so that the same
    seed gives the same answer.
    """

    def __init__(self, deadline: float, max_iterations: int | None) -> None:
        self.deadline = deadline  # in the time of monotonic()
        self.max_iterations = max_iterations
        self.spent = 0

    def spend(self, iterations: int) -> None:
        """Count iterations that were done."""
        self.spent += iterations

    def left(self) -> bool:
        """Return whether there is anything left."""
        if self.max_iterations is not None and self.spent >= self.max_iterations:
            return False
        return self.seconds() > 0.0

    def seconds(self) -> float:
        """Return the time to the deadline; infinite without one."""
        return self.deadline - monotonic()

    def at_most(self, count: int) -> int:
        """Return `count`, or fewer if no more iterations are left."""
        if self.max_iterations is None:
            return count
        return max(0, min(count, self.max_iterations - self.spent))
