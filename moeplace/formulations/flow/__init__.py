"""Parts of the decision that are network flows, solved as such at any size."""

from __future__ import annotations

from moeplace.formulations.flow.split import SplitBound, least_peak
from moeplace.formulations.flow.transport import Transport, cheapest_assignment, linear_rank_cost

__all__ = ["SplitBound", "Transport", "cheapest_assignment", "least_peak", "linear_rank_cost"]
