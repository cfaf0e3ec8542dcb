"""The decision: problem, placement, and the one definition of what a placement costs."""

from __future__ import annotations

from moeplace.placement.dispatch import DISPATCH_POLICIES
from moeplace.placement.evaluate import evaluate
from moeplace.placement.load_cap import layer_imbalance, layer_overload
from moeplace.placement.migration import keep_slots, moved_replicas, relabel_ranks
from moeplace.placement.placement import Placement
from moeplace.placement.problem import (
    DEFAULT_TOKENS_PER_RANK,
    EXECUTIONS,
    OBJECTIVES,
    Problem,
    make_problem,
)
from moeplace.placement.robust import RISKS, make_robust
from moeplace.placement.score import SCALARS, Score
from moeplace.placement.violations import slot_violations, violations

__all__ = [
    "DEFAULT_TOKENS_PER_RANK",
    "DISPATCH_POLICIES",
    "EXECUTIONS",
    "OBJECTIVES",
    "RISKS",
    "SCALARS",
    "Placement",
    "Problem",
    "Score",
    "evaluate",
    "keep_slots",
    "layer_imbalance",
    "layer_overload",
    "make_problem",
    "make_robust",
    "moved_replicas",
    "relabel_ranks",
    "slot_violations",
    "violations",
]
