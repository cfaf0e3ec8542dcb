"""Proven optima of small instances: programs as arrays, solved by CP-SAT, CBC or HiGHS."""

from __future__ import annotations

from moeplace.formulations.exact.clique import CliqueCut, clique_cut
from moeplace.formulations.exact.relaxation import Relaxation, linear_relaxation

__all__ = ["CliqueCut", "Relaxation", "clique_cut", "linear_relaxation"]
