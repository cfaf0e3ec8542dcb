"""What gating costs: fixed capacities with padding against exactly the tokens routed."""

from __future__ import annotations

from moeplace.replay.gating.costs import MODES, Gating, GatingCost, gating_cost, waste
from moeplace.replay.gating.paper import PaperRow, paper_cases, paper_rows

__all__ = [
    "MODES",
    "Gating",
    "GatingCost",
    "PaperRow",
    "gating_cost",
    "paper_cases",
    "paper_rows",
    "waste",
]
