"""Proven lower bounds: each a theorem, tested against enumeration."""

from __future__ import annotations

from moeplace.formulations.bounds.bound import EFFORTS, Bound
from moeplace.formulations.bounds.lower_bound import lower_bound

__all__ = ["EFFORTS", "Bound", "lower_bound"]
