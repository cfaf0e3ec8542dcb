"""Consecutive layers coupled by where tokens are: which rank takes which cluster in every layer.

Source of the problem: MoETuner's second program (arXiv 2502.06643) and ExFlow (arXiv 2401.08383);
with one layer fixed it is an assignment problem, along the layers a shortest path.
"""

from __future__ import annotations

from moeplace.formulations.chain.instance import ChainInstance, ChainResult
from moeplace.formulations.chain.solve import solve_chain

__all__ = ["ChainInstance", "ChainResult", "solve_chain"]
