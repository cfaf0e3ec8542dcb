"""Quadratic assignment: facilities with flows between them on locations with distances.

Source of the algorithms: robust tabu search and annealing on one table of prices, crossed in
populations; Gilmore–Lawler and projection bounds and a split between them.
"""

from __future__ import annotations

from moeplace.formulations.qap.exact import solve_qap_exact
from moeplace.formulations.qap.qaplib import read_qaplib, read_qaplib_value
from moeplace.formulations.qap.result import QapResult
from moeplace.formulations.qap.solve import solve_qap

__all__ = ["QapResult", "read_qaplib", "read_qaplib_value", "solve_qap", "solve_qap_exact"]
